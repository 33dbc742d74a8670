"""The columns of the controls: what knows nothing of the image does not find its box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_places import LUNGS, SEVERITY, SIDE, boxed, pending, spot, zoned

from magsd_cli.localization.choice import Candidates, PendingImage, choices
from magsd_cli.localization.controls.columns import control_columns

HALF = Candidates(threshold=0.5)


def columns_of(images: dict[Path, PendingImage]) -> dict[Path, dict[str, float]]:
    return control_columns(images, HALF, choices(images, HALF))


def image(place: tuple[int, int], patient: str = "", unseen: bool = True) -> PendingImage:
    """Attention that knows the box, untrained networks that look elsewhere, brightness that knows it too."""
    maps = {"attention": spot(*place)}
    controls = {"untrained": {"attention": spot(16, 16)}, "brightness": maps}
    return pending("x", boxed(*place), maps, None, patient, unseen, controls, HALF)


def test_controls_know_nothing_of_the_image() -> None:
    images = {Path(str(k)): image(place) for k, place in enumerate([(0, 0), (14, 0), (0, 14)])}
    found = columns_of(images)
    for columns in found.values():
        assert columns["control_iou_box"] == 0  # the boxes are apart
        assert columns["control_over_0.25"] == 0
        assert columns["untrained_iou_box"] == 0
        assert columns["brightness_iou_box"] == 1
        assert columns["brightness_pixel_auc"] == 1
        assert "constant_iou_box" not in columns  # two others cannot choose a box


def test_the_whole_film_by_hand() -> None:
    columns = columns_of({Path("x"): image((0, 0))})[Path("x")]
    share = 64 / SIDE**2
    assert columns["whole_iou_box"] == pytest.approx(share)
    assert columns["whole_iou_mask"] == pytest.approx(share)
    assert columns["whole_pointing"] == pytest.approx(share)
    assert columns["whole_pixel_auc"] == 0.5


def test_the_same_patient_is_no_control_and_training_images_are_none() -> None:
    images = {
        Path("a"): image((0, 0), "p"),
        Path("b"): image((0, 0), "p"),
        Path("c"): image((14, 0), "q"),
        Path("d"): image((0, 0), "r", unseen=False),
    }
    columns = columns_of(images)
    assert columns[Path("a")]["control_iou_box"] == 0  # b would have been perfect, and d too
    assert Path("d") not in columns


def test_zones_and_lungs_have_controls_of_their_own() -> None:
    known = zoned(SEVERITY)
    assert known.zones is not None
    right = np.array([0, *SEVERITY], np.float32)[known.zones.labels]
    images = {
        Path(str(k)): pending(
            "x", known, {"attention": maps}, controls={"brightness": {"attention": right}}, candidates=HALF
        )
        for k, maps in enumerate((right, -right, LUNGS.astype(np.float32)))
    }
    first, second, third = columns_of(images).values()
    assert first["brightness_zones"] == 1
    assert first["control_zones"] == pytest.approx((-1 + 0) / 2)
    assert second["control_zones"] == pytest.approx((1 + 0) / 2)
    assert third["control_zones"] == pytest.approx(0)
    assert first["control_lungs"] == pytest.approx((LUNGS.mean() + 1) / 2)  # -right has nothing above 0
    assert "control_iou_box" not in first
