"""Controls without a map: chosen on other patients, exact on the grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_places import SEVERITY, SIDE, boxed, pending, spot, zoned

from magsd_cli.localization.choice import LEAST, PendingImage
from magsd_cli.localization.controls.constant import (
    _grid,
    _grid_fits,
    constant_box_fit,
    constant_boxes,
    usual_order,
)
from magsd_cli.localization.measure import Finding, KnownTruth, finding_of
from magsd_cli.localization.truth import Truth
from magsd_cli.metrics.iou import box_iou


def image(place: tuple[int, int], home: int | None, patient: str = "") -> PendingImage:
    return pending("x", boxed(*place), {"attention": spot(*place)}, home, patient)


def test_every_box_of_the_grid_has_its_iou() -> None:
    mask = np.zeros((64, 64), bool)
    mask[8:24, 12:40] = True
    grid = _grid()
    assert len(grid) == (17 * 16 // 2) ** 2
    fits = _grid_fits(mask, grid)
    for number in np.random.default_rng(0).choice(len(grid), 50):
        left, top, right, bottom = (4.0 * value for value in grid[number])
        expected = box_iou((left, top, right - left, bottom - top), (12, 8, 28, 16))
        assert fits[number] == pytest.approx(expected, abs=1e-6)


def test_the_box_is_that_of_the_other_folds() -> None:
    """A fold's own boxes lie elsewhere, and have no say."""
    places = {0: (0, 0), 1: (12, 12)}
    images = {Path(f"{fold}-{k}"): image(place, fold) for fold, place in places.items() for k in range(LEAST)}
    found = constant_boxes(images)
    # 8 of 24 pixels are 5.3 of 16 cells: the nearest box of the grid.
    assert found[Path("0-0")] == (0.5, 0.5, 0.3125, 0.3125)
    assert found[Path("1-0")] == (0, 0, 0.3125, 0.3125)
    fit = constant_box_fit(found[Path("0-0")], finding(0, 0))
    assert (fit["iou_box"], fit["iou_mask"], fit["pointing"]) == (0, 0, 0)
    assert fit["pixel_auc"] < 0.5


def test_an_outside_image_has_the_box_of_all_other_patients() -> None:
    images = {Path(str(k)): image((0, 0), None, str(k)) for k in range(LEAST)}
    images[Path("x")] = images[Path("y")] = image((14, 14), None, "one patient")
    assert constant_boxes(images)[Path("x")][:2] == (0, 0)
    assert constant_boxes(dict(list(images.items())[2:])) == {}  # too few others for anyone


def finding(x: int, y: int) -> Finding:
    found = finding_of(Truth(((float(x), float(y), 8.0, 8.0),)), (SIDE, SIDE))
    assert found is not None
    return found


def test_a_box_that_is_the_truth_fits_in_all_ways() -> None:
    fit = constant_box_fit((0.25, 0.5, 8 / SIDE, 8 / SIDE), finding(6, 12))
    assert (fit["iou_box"], fit["iou_mask"], fit["pointing"], fit["pixel_auc"]) == pytest.approx((1, 1, 1, 1))


def test_the_usual_order_is_that_of_the_other_folds() -> None:
    known: dict[int, KnownTruth] = {0: zoned(SEVERITY), 1: zoned(SEVERITY[::-1])}
    maps = {"attention": spot(0, 0)}
    images = {Path(f"{f}-{k}"): pending("x", known[f], maps, f) for f in known for k in range(LEAST)}
    assert usual_order(images) == {path: pytest.approx(-1) for path in images}
    images[Path("new")] = pending("x", known[0], maps)
    assert usual_order(images)[Path("new")] == 0  # ten of each: no order
    few = {path: one for path, one in images.items() if path.name < "1"}
    assert Path("0-0") not in usual_order(few)
