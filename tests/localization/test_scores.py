"""Figures of localization: by hand, over patients, and honest about n and chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magsd_cli.localization.measure import THRESHOLDS, kind_of
from magsd_cli.localization.scores import figure, figures_by_kind, interval, verdict
from magsd_cli.localization.threshold import LEAST, best_threshold


def test_figures_by_hand() -> None:
    values = np.array([0.0, 0.25, 0.5, 0.65])
    found = figure(values, {"shuffled": np.full(4, 0.1)}, [""] * 4)
    assert found["mean"] == pytest.approx(0.35)
    control = found["controls"]["shuffled"]
    assert control["mean"] == pytest.approx(0.1)
    assert control["gain"] == pytest.approx(0.25)
    low, high = control["gain_interval95"]
    assert low < 0.25 < high
    assert found["interval95"][0] == pytest.approx(low + 0.1, abs=0.05)


def test_a_patient_with_many_images_is_one_patient() -> None:
    values = np.array([0.0] * 20 + [1.0] * 20) * 0.5
    one_each = interval(values, [""] * 40, np.random.default_rng(0))
    four_in_all = interval(
        values, ["a"] * 10 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10, np.random.default_rng(0)
    )
    assert one_each is not None
    assert four_in_all is not None
    assert four_in_all[1] - four_in_all[0] > 2 * (one_each[1] - one_each[0])
    assert interval(values, ["a"] * 40, np.random.default_rng(0)) is None


def test_none_of_n_has_wilsons_upper_bound() -> None:
    found = figure(np.zeros(34), {}, [""] * 34)
    # Wilson's for 0 of 34: z^2 / (n + z^2).
    assert found["interval95"] == pytest.approx([0, 1.959964**2 / (34 + 1.959964**2)], abs=1e-6)


def test_the_interval_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    low, high = interval(values, [""] * 2000, np.random.default_rng(0)) or (0, 0)
    half = 1.96 / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=half / 5)
    assert high == pytest.approx(values.mean() + half, abs=half / 5)


def test_the_threshold_with_the_largest_mean_is_chosen() -> None:
    at = THRESHOLDS.index(0.3)
    curve = [0.1] * len(THRESHOLDS)
    curve[at] = 0.4
    assert best_threshold([curve] * LEAST) == (0.3, LEAST)
    assert best_threshold([curve] * (LEAST - 1)) is None
    assert best_threshold([[0.2] * len(THRESHOLDS)] * LEAST) == (0.5, LEAST)


def test_kinds_of_truth() -> None:
    assert [kind_of(text) for text in (None, "", "boxes", "boxes+mask", "mask")] == [
        None, None, "boxes", "boxes", "mask",
    ]  # fmt: skip


def _row(**more: Any) -> dict[str, Any]:
    controls = {
        f"{prefix}{name}": 0.1
        for prefix in ("control_", "untrained_")
        for name in ("iou_box", "iou_mask", "over_0.25", "over_0.5", "pointing")
    }
    row = {"status": "ok", "unseen": True, "patient_id": "", "pointing_hit": False, **controls}
    return row | {"iou_box": None, "iou_mask": None, "truth": None} | more


def test_each_kind_is_measured_by_its_own_iou() -> None:
    found = figures_by_kind(
        [
            _row(truth="boxes+mask", iou_box=0.3, iou_mask=0.9),
            _row(truth="boxes", iou_box=0.5, iou_mask=0.9, pointing_hit=True),
            _row(truth="mask", iou_box=0.9, iou_mask=0.2),
            _row(truth="mask", iou_box=0.9, iou_mask=0.9, unseen=False),
            _row(lungs_inside=0.5, lungs_share=0.25, control_lungs=0.3, untrained_lungs=0.2),
            _row(status="error", unseen=None),
        ]
    )
    assert found["boxes"]["n"] == 2
    assert found["boxes"]["iou"]["mean"] == pytest.approx(0.4)
    assert found["boxes"]["over_0.25"]["mean"] == 1
    assert found["boxes"]["over_0.5"]["mean"] == 0.5
    assert found["boxes"]["pointing"]["mean"] == 0.5
    assert found["boxes"]["iou"]["controls"]["untrained"]["gain"] == pytest.approx(0.3)
    assert found["mask"]["n"] == 1
    assert found["mask"]["iou"]["mean"] == pytest.approx(0.2)
    gains = {name: c["gain"] for name, c in found["lungs"]["inside"]["controls"].items()}
    assert gains == pytest.approx({"area": 0.25, "shuffled": 0.2, "untrained": 0.3})


def test_verdicts() -> None:
    assert [verdict(bounds) for bounds in ([0.1, 0.2], [-0.2, -0.1], [-0.1, 0.1], None)] == [
        "better", "worse", "not shown to be better", "not comparable",
    ]  # fmt: skip


def test_the_same_figures_twice() -> None:
    rows = [_row(truth="boxes", iou_box=value, iou_mask=0.1) for value in (0.1, 0.7, 0.3)]
    assert figures_by_kind(rows) == figures_by_kind(rows)
