"""Figures of localization: by hand, over patients, and honest about n and chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from magsd_cli.localization.figures import figures_table
from magsd_cli.localization.measure import kind_of
from magsd_cli.localization.scores import figure, figures_by_kind, verdict, zone_counts


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


def interval(values: np.ndarray, patients: list[str]) -> Any:
    return figure(values, {}, patients)["interval95"]


def test_a_patient_with_many_images_is_one_patient() -> None:
    values = np.array([0.0] * 20 + [1.0] * 20) * 0.5
    one_each = interval(values, [""] * 40)
    four_in_all = interval(values, ["a"] * 10 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10)
    assert four_in_all[1] - four_in_all[0] > 2 * (one_each[1] - one_each[0])
    assert interval(values, ["a"] * 40) is None


def test_none_of_n_has_wilsons_upper_bound() -> None:
    found = figure(np.zeros(34), {}, [""] * 34)
    # Wilson's for 0 of 34: z^2 / (n + z^2).
    assert found["interval95"] == pytest.approx([0, 1.959964**2 / (34 + 1.959964**2)], abs=1e-6)


def test_the_interval_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    low, high = interval(values, [""] * 2000)
    half = 1.96 / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=half / 5)
    assert high == pytest.approx(values.mean() + half, abs=half / 5)


def test_kinds_of_truth() -> None:
    assert [kind_of(text) for text in (None, "", "boxes", "boxes+mask", "mask")] == [
        None, None, "boxes", "boxes", "mask",
    ]  # fmt: skip


def _row(**more: Any) -> dict[str, Any]:
    controls = {
        f"{prefix}{name}": 0.1
        for prefix in ("control_", "untrained_", "whole_")
        for name in ("iou_box", "iou_mask", "over_0.25", "over_0.5", "pointing", "pixel_auc")
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


def test_controls_are_compared_on_the_same_samples_and_by_holms_rule() -> None:
    values = np.random.default_rng(0).uniform(0.5, 1, 40)
    controls = {"whole": values - 0.2, "shuffled": values - 0.2, "untrained": np.full(40, 0.75)}
    found = figure(values, controls, [""] * 40)["controls"]
    assert found["whole"] == found["shuffled"]
    assert found["whole"]["gain_interval95"] == pytest.approx([0.2, 0.2])
    smallest = 2 / 20_001
    assert found["whole"]["p"] == pytest.approx(smallest)
    assert found["whole"]["p_holm"] == pytest.approx(3 * smallest)
    assert found["untrained"]["p_holm"] == found["untrained"]["p"]  # the largest of three
    assert verdict(found["whole"]) == "better"


def test_few_patients_show_nothing_however_alike_they_are() -> None:
    for count, expected in ((3, 0.25), (6, 1 / 32), (20, 2 / 20_001)):
        values = np.linspace(0.5, 1, count)
        control = figure(values, {"whole": values - 0.2}, [""] * count)["controls"]["whole"]
        assert control["p"] == pytest.approx(expected)
    assert verdict(figure(np.ones(3), {"whole": np.zeros(3)}, [""] * 3)["controls"]["whole"]) != "better"


def test_a_measure_that_equals_its_control_has_no_gain() -> None:
    values = np.array([0.2, 0.4, 0.9])
    control = figure(values, {"whole": values}, [""] * 3)["controls"]["whole"]
    assert (control["gain"], control["gain_interval95"], control["p"]) == (0, [0, 0], 1)
    assert verdict(control) == "not shown to be better"


def test_verdicts() -> None:
    def of(bounds: list[float] | None, p: float | None = 0.01) -> str:
        return verdict({"mean": 0, "gain": 0, "gain_interval95": bounds, "p": p, "p_holm": p})

    cases = ([0.1, 0.2], [-0.2, -0.1], [-0.1, 0.1], None)
    assert [of(bounds) for bounds in cases] == [
        "better", "worse", "not shown to be better", "not comparable",
    ]  # fmt: skip
    assert of([0.1, 0.2], 0.06) == "not shown to be better"  # one of several comparisons


def test_a_table_of_before_there_was_the_pixel_auc() -> None:
    assert "pixel_auc" not in figures_by_kind([_row(truth="boxes", iou_box=0.3, iou_mask=0.2)])["boxes"]
    now = figures_by_kind([_row(truth="boxes", iou_box=0.3, iou_mask=0.2, pixel_auc=0.75)])["boxes"]
    assert now["pixel_auc"]["controls"]["whole"]["gain"] == pytest.approx(0.65)


def test_zones_by_hand() -> None:
    controls = {"constant_zones": 0.5, "brightness_zones": 0.4, "control_zones": 0.0}
    rows = [
        _row(zones=1.0, zones_status="measured", readers_zones=0.9, lungs_inside=None, **controls),
        _row(zones=-0.5, zones_status="measured", readers_zones=None, **controls),
        _row(zones_status="same_scores"),
        _row(zones_status="no_lung_mask"),
        _row(zones=1.0, zones_status="measured", unseen=False, **controls),
        _row(),
    ]
    figures = figures_by_kind(rows)["zones"]
    assert (figures["n"], figures["readers"], figures["readers_n"]) == (2, 0.9, 1)
    assert figures["correlation"]["mean"] == pytest.approx(0.25)
    gains = {name: each["gain"] for name, each in figures["correlation"]["controls"].items()}
    assert gains == pytest.approx({"constant": -0.25, "brightness": -0.15, "shuffled": 0.25})
    assert zone_counts(rows) == {"measured": 3, "same_scores": 1, "no_lung_mask": 1}


def test_the_figures_as_a_table() -> None:
    rows = [_row(truth="boxes", iou_box=value, iou_mask=0.1) for value in (0.1, 0.7, 0.3)]
    kinds = figures_by_kind(rows)
    table = figures_table(kinds).to_pylist()
    assert [row["measure"] for row in table[::3]] == ["iou", "over_0.25", "over_0.5", "pointing"]
    first = table[0]
    assert (first["truth"], first["images"], first["control"]) == ("boxes", 3, "whole")
    assert first["mean"] - first["control_mean"] == pytest.approx(first["gain"])
    assert [first["low"], first["high"]] == kinds["boxes"]["iou"]["interval95"]
    assert first["p_holm"] == kinds["boxes"]["iou"]["controls"]["whole"]["p_holm"]
    alone = figures_table(figures_by_kind([_row(zones=0.5, zones_status="measured")])).to_pylist()
    assert [(row["truth"], row["mean"], row["low"], row["control"]) for row in alone] == [
        ("zones", 0.5, None, None)
    ]


def test_the_same_figures_twice() -> None:
    rows = [_row(truth="boxes", iou_box=value, iou_mask=0.1) for value in (0.1, 0.7, 0.3)]
    assert figures_by_kind(rows) == figures_by_kind(rows)
