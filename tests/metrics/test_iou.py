"""IoU of masks and boxes: values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from magsd_cli.metrics.iou import box_iou, boxes_mask, enclosing_box, mask_iou, pointing_hit


def test_mask_iou_by_hand() -> None:
    # two 2x2 squares that share one pixel: 1 / 7
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[0:2, 0:2] = True
    second[1:3, 1:3] = True
    assert mask_iou(first, second) == pytest.approx(1 / 7)
    assert mask_iou(first, first) == 1
    assert mask_iou(first, ~first) == 0
    assert mask_iou(first & second & ~first, first & ~first) == 0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0, 2, 2), (1, 1, 2, 2), 1 / 7),
        ((0, 0, 4, 4), (0, 0, 4, 4), 1),
        ((0, 0, 4, 4), (1, 1, 2, 2), 4 / 16),
        ((0, 0, 2, 2), (2, 0, 2, 2), 0),  # they only touch
        ((0, 0, 2, 2), (5, 5, 1, 1), 0),
        ((0.5, 0, 1, 1), (0, 0, 1, 1), 0.5 / 1.5),
        ((3, 3, 0, 0), (3, 3, 0, 0), 0),
    ],
)
def test_box_iou_by_hand(first: tuple, second: tuple, expected: float) -> None:
    assert box_iou(first, second) == pytest.approx(expected)
    assert box_iou(second, first) == pytest.approx(expected)


def test_box_and_mask_iou_agree_on_whole_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, y, w, h = rng.integers(0, 10, (4, 2))
        first = (float(x[0]), float(y[0]), float(w[0] + 1), float(h[0] + 1))
        second = (float(x[1]), float(y[1]), float(w[1] + 1), float(h[1] + 1))
        masks = [boxes_mask([box], (32, 32)) for box in (first, second)]
        assert box_iou(first, second) == pytest.approx(mask_iou(*masks))


def test_the_union_of_boxes() -> None:
    mask = boxes_mask([(0, 0, 2, 1), (1, 0, 2, 2)], (3, 4))
    np.testing.assert_array_equal(mask, np.array([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], bool))
    assert boxes_mask([], (2, 2)).sum() == 0
    assert boxes_mask([(-2, -2, 3, 3)], (2, 2)).sum() == 1  # what lies outside the image does not count
    assert boxes_mask([(-5, -5, 3, 3)], (2, 2)).sum() == 0


def test_the_enclosing_box() -> None:
    mask = np.zeros((5, 6), bool)
    assert enclosing_box(mask) is None
    mask[1, 2] = mask[3, 4] = True
    assert enclosing_box(mask) == (2, 1, 3, 3)
    assert boxes_mask([(2, 1, 3, 3)], (5, 6)).sum() == 9


def test_the_pointing_game() -> None:
    attention, truth = np.zeros((4, 4)), np.zeros((4, 4), bool)
    attention[1, 2] = 3.0
    truth[1, 2] = True
    assert pointing_hit(attention, truth)
    assert not pointing_hit(attention, ~truth)


def test_a_plateau_points_at_its_middle() -> None:
    attention, truth = np.zeros((5, 5)), np.zeros((5, 5), bool)
    attention[1:4, 1:4] = 1.0
    truth[2, 2] = True
    assert pointing_hit(attention, truth)
