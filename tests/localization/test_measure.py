"""What is measured of one image: by construction."""

from __future__ import annotations

import numpy as np
import pytest
from known_places import LUNGS, SIDE, boxed, spot

from magsd_cli.inference.answer import Prediction
from magsd_cli.localization.measure import (
    KnownTruth,
    candidate_maps,
    known_truth,
    maps_of,
    measure,
    pixel_auc,
)
from magsd_cli.localization.regions import Region, find_region
from magsd_cli.localization.truth import Truth
from magsd_cli.localization.zones import NO_MASK, ZoneScores
from magsd_cli.settings import Map


def test_a_map_that_equals_the_box_is_right_in_every_way() -> None:
    finding = boxed(6, 10).finding
    assert finding is not None
    assert measure(find_region(spot(6, 10), (SIDE, SIDE), 0.5), finding) == {
        "iou_box": 1, "iou_mask": 1, "over_0.25": 1, "over_0.5": 1, "pointing": 1, "pixel_auc": 1,
    }  # fmt: skip


def test_a_map_that_avoids_the_box_is_wrong_in_every_way() -> None:
    finding = boxed(6, 10).finding
    assert finding is not None
    values = 1 - spot(6, 10)
    fit = measure(Region(values, values > 0.5, (0, 0, 2, 2)), finding)
    assert set(fit.values()) == {0}


def test_the_pixel_auc_by_hand() -> None:
    mask = np.array([[True, False], [True, False]])
    assert pixel_auc(np.array([[3, 1], [2, 0]], np.float32), mask) == 1
    assert pixel_auc(np.array([[3, 1], [0, 2]], np.float32), mask) == 0.5
    assert pixel_auc(np.array([[1, 1], [0, 0]], np.float32), mask) == 0.5  # ties count half
    assert pixel_auc(np.array([[2, 1], [1, 0]], np.float32), mask) == pytest.approx(3.5 / 4)
    assert pixel_auc(np.zeros((2, 2), np.float32), mask) == 0.5


def test_the_pixel_auc_of_a_large_image_is_that_of_a_grid() -> None:
    rng = np.random.default_rng(0)
    large = rng.normal(size=(600, 400)).astype(np.float32)
    mask = np.zeros(large.shape, bool)
    mask[100:300, 50:200] = True
    large[mask] += 0.5
    assert pixel_auc(large, mask) == pytest.approx(0.638, abs=0.02)  # Phi(0.5 / sqrt(2))
    assert pixel_auc(large, mask) == pixel_auc(large[::5, ::5], mask[::5, ::5])
    assert pixel_auc(large, np.ones_like(mask)) == 0.5


def test_maps_are_those_of_the_predicted_class() -> None:
    probabilities = np.array([[0.1, 0.7, 0.2]], np.float32)
    class_maps = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    found = maps_of(Prediction(probabilities, None, None, class_maps))
    assert list(found) == ["class"]
    np.testing.assert_array_equal(found[Map.evidence], class_maps[0, 1])
    assert candidate_maps(found, Map.chosen) == ("class",)
    assert candidate_maps(found, Map.attention) == ()
    both = maps_of(Prediction(probabilities, class_maps[:, 0], None, class_maps))
    assert candidate_maps(both, Map.chosen) == ("attention", "class")


def test_what_is_known_decides_by_what_is_chosen() -> None:
    assert known_truth(None, (9, 9)).kind is None
    scored = known_truth(Truth(zones=ZoneScores({"": (0, 1, 2, 3, 0, 1)})), (9, 9))
    assert (scored.kind, scored.zones_status) == (None, NO_MASK)
    assert KnownTruth(lungs=LUNGS).kind == "lungs"
    assert boxed(0, 0).kind == "boxes"
