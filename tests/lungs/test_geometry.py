"""From a map to two lungs and the part of the film that is kept, and back to the film's pixels."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_lungs import draw_film, squeezed

from magsd_cli.lungs.geometry import MARGIN, WIDENED, Frame, Lungs, two_lungs

SIZE = 128


def boxes(*places: tuple[int, int, int, int], value: float = 1.0) -> np.ndarray:
    """A map with rectangles (top, left, bottom, right)."""
    found = np.zeros((SIZE, SIZE), np.float32)
    for top, left, bottom, right in places:
        found[top:bottom, left:right] = value
    return found


LEFT, RIGHT = (30, 20, 90, 55), (32, 70, 95, 105)


def test_the_box_around_both_lungs_and_the_margin_in_the_films_own_pixels() -> None:
    lungs = two_lungs(boxes(LEFT, RIGHT), (256, 640))
    assert lungs is not None
    margin = MARGIN * SIZE
    expected = ((20 - margin) * 5, (30 - margin) * 2, (85 + 2 * margin) * 5, (65 + 2 * margin) * 2)
    assert lungs.frame == pytest.approx(expected, abs=2)
    assert all(isinstance(value, int) for value in lungs.frame)
    # Never less than the lungs and their margin.
    assert lungs.frame.x <= expected[0]
    assert lungs.frame.x + lungs.frame.width >= expected[0] + expected[2] - 1e-6


def test_the_box_stays_inside_the_film() -> None:
    lungs = two_lungs(boxes((0, 0, 128, 50), (0, 78, 128, 128)), (99, 101))
    assert lungs is not None
    assert lungs.frame == Frame(0, 0, 101, 99)


@pytest.mark.parametrize(
    "places",
    [
        (),
        (LEFT,),  # one lung
        (LEFT, (100, 60, 103, 63)),  # a speck beside it
        ((5, 20, 50, 55), (70, 70, 120, 105)),  # one above the other
        ((5, 20, 50, 55), (60, 22, 110, 57)),
    ],
    ids=["nothing", "one", "speck", "apart in height", "below"],
)
def test_what_are_not_two_lungs(places: tuple[tuple[int, int, int, int], ...]) -> None:
    assert two_lungs(boxes(*places), (100, 100)) is None


def test_lungs_that_touch_are_told_apart_where_the_network_is_surer() -> None:
    touching = boxes(LEFT, RIGHT) + boxes((50, 55, 60, 70), value=0.6)
    lungs = two_lungs(touching, (SIZE, SIZE))
    assert lungs is not None
    np.testing.assert_array_equal(lungs.region, touching > 0)


def test_a_third_part_is_dropped() -> None:
    lungs = two_lungs(boxes(LEFT, RIGHT, (110, 100, 120, 120)), (SIZE, SIZE))
    assert lungs is not None
    np.testing.assert_array_equal(lungs.region, boxes(LEFT, RIGHT) > 0)


def test_what_is_outside_of_a_mask_lies_in_the_frame_and_off_the_lungs() -> None:
    _, mask = draw_film(3, 300, 200)
    lungs = Lungs(squeezed(mask) > 127, (300, 200))
    outside = lungs.outside()
    assert outside.shape == (lungs.frame.height, lungs.frame.width)
    inside = mask[lungs.frame.place] > 0
    assert not (outside & inside).any()
    # The mask is wider than the lungs by about WIDENED of the sides, and not by much more.
    assert (~outside).sum() < 1.35 * inside.sum()
    assert (~outside).sum() > inside.sum()
    assert 0 < WIDENED < MARGIN


def test_a_frame_on_another_films_shape() -> None:
    assert Frame(10, 20, 30, 40).on((100, 200), (50, 400)) == Frame(20, 10, 60, 20)
