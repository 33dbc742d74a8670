"""From attention to region: values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from magsd_cli.localization.regions import find_region, part_boxes, stretch, upsample


def test_upsampling_is_bilinear_between_cell_centres() -> None:
    # Two cells over eight pixels: centres at 2 and 6, so the pixel centre 2.5 lies 1/8 of the way, 3.5 3/8.
    wide = upsample(np.array([[0.0, 1.0]], np.float32), (1, 8))
    np.testing.assert_allclose(wide, [[0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1]], atol=1e-6)


def test_an_image_that_is_not_square_is_tiled_by_the_map() -> None:
    wide = upsample(np.array([[0.0, 1.0], [0.0, 1.0]], np.float32), (4, 12))
    assert wide.shape == (4, 12)
    np.testing.assert_allclose(wide[:, :3], 0)
    np.testing.assert_allclose(wide[:, 9:], 1)


def test_stretch_takes_the_floor_away() -> None:
    np.testing.assert_allclose(stretch(np.array([[2.0, 3.0, 4.0]], np.float32)), [[0, 0.5, 1]])
    assert not stretch(np.full((2, 2), 7.0, np.float32)).any()
    assert not stretch(np.array([[np.nan, 1.0]], np.float32)).any()
    assert not stretch(np.array([[np.inf, 1.0]], np.float32)).any()


def test_the_region_by_hand() -> None:
    attention = np.zeros((4, 4), np.float32)
    attention[1, 1], attention[1, 2], attention[3, 3] = 1.0, 0.6, 0.9
    region = find_region(attention, (4, 4), 0.5)
    assert np.argwhere(region.mask).tolist() == [[1, 1], [1, 2], [3, 3]]
    assert region.box == (1, 1, 2, 1)  # the two together, not the one that is alone
    assert region.area_share == 3 / 16
    assert region.attention.max() == 1


@pytest.mark.parametrize(("threshold", "cells"), [(0.0, 3), (0.59, 3), (0.61, 2), (0.95, 1), (1.0, 1)])
def test_the_threshold_is_a_share_of_the_maximum(threshold: float, cells: int) -> None:
    attention = np.zeros((4, 4), np.float32)
    attention[1, 1], attention[1, 2], attention[3, 3] = 5.0, 3.0, 4.5
    assert find_region(attention, (4, 4), threshold).mask.sum() == cells


def test_attention_without_difference_marks_nothing() -> None:
    region = find_region(np.full((2, 2), 3.0, np.float32), (8, 8), 0.5)
    assert not region.mask.any()
    assert region.box is None


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.eye(3, dtype=bool)
    assert part_boxes(mask, mask.astype(np.float32)) == dict.fromkeys(("largest", "maximum"), (0, 0, 3, 3))


def test_the_box_of_the_part_with_the_maximum() -> None:
    attention = np.zeros((4, 4), np.float32)
    attention[1, 1], attention[1, 2], attention[3, 3] = 0.8, 0.6, 1.0
    assert find_region(attention, (4, 4), 0.5).box == (1, 1, 2, 1)
    region = find_region(attention, (4, 4), 0.5, "maximum")
    assert region.box == (3, 3, 1, 1)
    assert region.mask.sum() == 3  # the rule is about the box alone
    assert find_region(np.full((2, 2), 3.0, np.float32), (4, 4), 0.5, "maximum").box is None
