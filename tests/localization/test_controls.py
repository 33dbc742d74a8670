"""Thresholds from other folds, and the two controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from magsd_cli.localization.controls import control_columns
from magsd_cli.localization.measure import THRESHOLDS, AttendedImage, Finding, Threshold, finding_of
from magsd_cli.localization.threshold import LEAST, PendingImage, pending_image, thresholds
from magsd_cli.localization.truth import Truth
from magsd_cli.localization.views import View

SIDE = 20


def spot(x: int, y: int) -> np.ndarray:
    maps = np.zeros((SIDE, SIDE), np.float32)
    maps[y : y + 8, x : x + 8] = 1
    return maps


def pending(
    name: str, home: int | None, place: tuple[int, int] = (0, 0), patient: str = "", unseen: bool = True
) -> PendingImage:
    """An image with a box at `place`, attention that knows it and an untrained one that does not."""
    view = View(Path(name), shape=(SIDE, SIDE))
    attended = AttendedImage(view, np.ones(1, np.float32), spot(*place), (0,), unseen, home, patient)
    finding = finding_of(Truth(((*map(float, place), 8.0, 8.0),)), (SIDE, SIDE))
    assert finding is not None
    return pending_image(attended, finding, None, spot(12, 12))


def with_best(one: PendingImage, best: float) -> PendingImage:
    curve = [0.0] * len(THRESHOLDS)
    curve[THRESHOLDS.index(best)] = 1.0
    return replace(one, curve=tuple(curve), untrained_curve=tuple(curve))


def two_folds(each: int) -> dict[Path, PendingImage]:
    """The images of fold 0 want 0.2, those of fold 1 want 0.7."""
    return {
        Path(f"{fold}-{k}"): with_best(pending(f"{fold}-{k}", fold), best)
        for fold, best in ((0, 0.2), (1, 0.7))
        for k in range(each)
    }


def test_the_threshold_of_a_fold_is_chosen_by_the_others() -> None:
    found = thresholds(two_folds(LEAST), None)
    assert found[Path("0-0")] == Threshold(0.7, "chosen", LEAST)
    assert found[Path("1-0")] == Threshold(0.2, "chosen", LEAST)


def test_no_image_has_a_say_in_its_own_threshold() -> None:
    images = two_folds(LEAST)
    before = thresholds(images, None)[Path("0-0")]
    for k in range(LEAST):
        images[Path(f"0-{k}")] = with_best(images[Path(f"0-{k}")], 0.95)
    assert thresholds(images, None)[Path("0-0")] == before


def test_an_outside_image_has_the_threshold_of_the_runs_own() -> None:
    images = two_folds(LEAST)
    images[Path("new")] = with_best(pending("new", None), 0.95)
    assert thresholds(images, None)[Path("new")].images == 2 * LEAST
    # and it has no say in theirs
    assert thresholds(images, None)[Path("0-0")].images == LEAST


def test_too_few_to_choose_is_the_default_and_says_so() -> None:
    assert set(thresholds(two_folds(LEAST - 1), None).values()) == {Threshold(0.5, "default")}
    assert set(thresholds(two_folds(LEAST), 0.3).values()) == {Threshold(0.3, "given")}


def test_kinds_of_truth_choose_apart() -> None:
    images = two_folds(LEAST)
    mask = np.ones((SIDE, SIDE), bool)
    one = images[Path("0-0")]
    images[Path("mask")] = replace(one, finding=Finding(mask, Truth(mask=Path("m")), "", "mask"))
    assert thresholds(images, None)[Path("mask")].source == "default"


def test_the_curve_peaks_where_the_region_fits() -> None:
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[None].repeat(SIDE, 0)
    attended = AttendedImage(View(Path("x"), shape=(SIDE, SIDE)), np.ones(1, np.float32), ramp, (0,), True, 0)
    box = (SIDE * 0.7, 0.0, SIDE * 0.3, float(SIDE))
    one = pending_image(attended, finding_of(Truth((box,)), (SIDE, SIDE)), None, ramp)
    assert THRESHOLDS[int(np.argmax(one.curve))] == pytest.approx(0.7, abs=0.05)


def test_controls_know_nothing_of_the_image() -> None:
    places = [(0, 0), (12, 0), (0, 12)]
    images = {Path(str(k)): pending(str(k), None, place) for k, place in enumerate(places)}
    columns = control_columns(images, 0.5)
    for path in images:
        assert columns[path]["control_iou_box"] == 0  # the boxes are apart
        assert columns[path]["control_over_0.25"] == 0
        assert columns[path]["untrained_iou_box"] == 0


def test_the_same_patient_is_no_control_and_training_images_are_none() -> None:
    images = {
        Path("a"): pending("a", 0, (0, 0), "p"),
        Path("b"): pending("b", 0, (0, 0), "p"),
        Path("c"): pending("c", 0, (12, 0), "q"),
        Path("d"): pending("d", 0, (0, 0), "r", unseen=False),
    }
    columns = control_columns(images, 0.5)
    assert columns[Path("a")]["control_iou_box"] == 0  # b would have been perfect, and d too
    assert Path("d") not in columns
