"""A map of a part of a film, laid on the whole film."""

from __future__ import annotations

import numpy as np
import pytest

from magsd_cli.data.film import Frame
from magsd_cli.localization.regions import CANVAS, find_region, lay_on_film, share_inside, upsample


@pytest.mark.parametrize("shape", [(90, 70), (512, 640), (3000, 2001)])
def test_a_place_of_the_crop_comes_back_to_its_place_on_the_film(shape: tuple[int, int]) -> None:
    height, width = shape
    frame = Frame(round(0.2 * width), round(0.3 * height), round(0.5 * width), round(0.6 * height))
    attention = np.full((8, 8), 0.25, np.float32)
    attention[2, 6] = 1.0
    wide = upsample(lay_on_film(attention, frame, shape), shape)
    place = np.argwhere(wide >= wide.max() - 1e-6).mean(0)
    expected = (frame.y + 2.5 / 8 * frame.height, frame.x + 6.5 / 8 * frame.width)
    assert place == pytest.approx(expected, abs=1 + max(shape) / CANVAS)
    region = find_region(lay_on_film(attention, frame, shape), shape, 0.5)
    assert region.box is not None
    x, y, box_width, box_height = region.box
    assert frame.x <= x
    assert frame.y <= y
    assert x + box_width <= frame.x + frame.width + 1
    assert y + box_height <= frame.y + frame.height


def test_what_was_not_shown_has_the_least_value_and_no_attention() -> None:
    frame, shape = Frame(20, 10, 40, 50), (100, 100)
    attention = np.linspace(0.5, 1.0, 16, dtype=np.float32).reshape(4, 4)
    laid = lay_on_film(attention, frame, shape)
    assert laid.shape == shape
    assert laid[0, 0] == laid[99, 99] == laid[30, 70] == 0.5
    assert laid.max() == pytest.approx(1.0, abs=1e-3)
    everything = np.zeros(shape, bool)
    everything[frame.place] = True
    assert share_inside(laid, everything, frame) == pytest.approx(1)
    assert share_inside(laid, everything) < 0.5
    assert share_inside(laid, ~everything, frame) == pytest.approx(0)


def test_without_a_frame_nothing_changes() -> None:
    attention = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    assert lay_on_film(attention, None, (50, 60)) is attention


def test_a_large_film_takes_little_memory() -> None:
    laid = lay_on_film(np.ones((4, 4), np.float32), Frame(100, 100, 3000, 2000), (4000, 5000))
    assert max(laid.shape) == CANVAS
