"""The quality of a localization, and whether it is better than chance; section 4.4.6.

Chance is not zero: a blob in the middle of a chest overlaps many findings. Beside every figure stand what
reaches something without having learned to look for disease: `CONTROLS`. Patients, not images, are the unit
of every interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt

from magsd_cli.localization.measure import IOU, LUNGS, SHARES, ZONES, kind_of
from magsd_cli.localization.row import LocalizationRow, number_in
from magsd_cli.metrics.intervals import DRAWS, weight_chunks, wilson
from magsd_cli.metrics.significance import Sampled, estimate, holm

Floats = npt.NDArray[np.float64]

#: The controls, from the simplest on, and the prefix of their columns.
CONTROLS = {
    "whole": "whole_",
    "constant": "constant_",
    "brightness": "brightness_",
    "shuffled": "control_",
    "untrained": "untrained_",
    "start": "start_",
}
LEVEL = 0.05  # of a p that speaks against a difference of none


class Gain(TypedDict):
    """The mean of a control, and by how much the attention exceeds it, with its interval.

    `p` is that of no difference, `p_holm` the same by Holm's rule over the controls of the measure.
    """

    mean: float
    gain: float
    gain_interval95: list[float] | None
    p: float | None
    p_holm: float | None


class Score(TypedDict):
    """A measure's mean over images, its interval over patients, and what each control says of it."""

    mean: float
    interval95: list[float] | None
    controls: dict[str, Gain]


_Over = TypedDict("_Over", {"over_0.25": Score, "over_0.5": Score}, total=False)


class KindFigures(_Over, total=False):
    """The figures of one kind of truth: `n` images of `patients`, and the measures that the kind has.

    `readers`: the mean rank correlation of two readers of the zones, on the `readers_n` images that have it.
    """

    n: int
    patients: int
    median: float
    iou: Score
    pointing: Score
    pixel_auc: Score
    inside: Score
    correlation: Score
    readers: float
    readers_n: int


def figures_by_kind(rows: Sequence[LocalizationRow]) -> dict[str, KindFigures]:
    """The figures of localization rows for `BOXES`, `MASK`, `LUNGS` and `ZONES`, where there are any.

    rows: columns of the localization table. Only images that no asked network was trained on count. Each
    kind has n, patients and its measures; each measure is as `figure` says.
    """
    counted = [row for row in rows if row["status"] == "ok" and row["unseen"] is not False]
    found: dict[str, KindFigures] = {}
    for kind, iou in IOU.items():
        part = [row for row in counted if kind_of(row["truth"]) == kind and row.get(iou) is not None]
        if part:
            found[kind] = {**_counts(part), **_iou_figures(part, iou)}
    part = [row for row in counted if row.get("lungs_inside") is not None]
    if part:
        figures = _counts(part)
        figures["inside"] = _score(part, "lungs_inside", "lungs", {"area": "lungs_share"})
        found[LUNGS] = figures
    part = [row for row in counted if row.get("zones") is not None]
    if part:
        found[ZONES] = _zone_figures(part)
    return found


def zone_counts(rows: Sequence[LocalizationRow]) -> dict[str, int]:
    """Count the scored images that are measured, and those that are not by reason (`zones.zones_of`)."""
    return dict(Counter(status for row in rows if (status := row.get("zones_status")) is not None))


def _iou_figures(rows: Sequence[LocalizationRow], iou: str) -> KindFigures:
    patients, values = _patients(rows), _column(rows, iou)
    figures: dict[str, object] = {
        "median": float(np.median(values)),
        "iou": _score(rows, iou, iou),
        "pointing": _score(rows, "pointing_hit", "pointing"),
    }
    for share in SHARES:
        name = f"over_{share:g}"
        figures[name] = figure((values >= share).astype(np.float64), _controls(rows, name), patients)
    if all(row.get("pixel_auc") is not None for row in rows):  # not in tables of earlier versions
        figures["pixel_auc"] = _score(rows, "pixel_auc", "pixel_auc")
    return cast("KindFigures", figures)


def _zone_figures(rows: Sequence[LocalizationRow]) -> KindFigures:
    figures = _counts(rows)
    figures["correlation"] = _score(rows, "zones", "zones")
    readers = [row for row in rows if row.get("readers_zones") is not None]
    if readers:
        figures["readers"] = float(_column(readers, "readers_zones").mean())
        figures["readers_n"] = len(readers)
    return figures


def figure_of(figures: KindFigures, measure: str) -> Score | None:
    """A measure of a kind of truth by its name; None where the kind has no such measure."""
    return cast("Score | None", figures.get(measure))


def controls_in(figures: KindFigures) -> set[str]:
    """The controls that any measure of a kind of truth has."""
    measures = (cast("Score", score) for score in figures.values() if isinstance(score, dict))
    return {name for score in measures for name in score["controls"]}


def _score(
    rows: Sequence[LocalizationRow], column: str, measure: str, further: Mapping[str, str] | None = None
) -> Score:
    controls = {name: _column(rows, own) for name, own in (further or {}).items()} | _controls(rows, measure)
    return figure(_column(rows, column), controls, _patients(rows))


def figure(values: Floats, controls: Mapping[str, Floats], patients: Sequence[str], seed: int = 0) -> Score:
    """Mean of a measure over images with its interval over patients; the same of the gain over each control.

    values: [N]; controls: name -> [N], what the control reaches on the same images; patients: the patient of
    each image, "" a patient of its own. All intervals are of the same bootstrap samples of patients; a share
    of none or all gets Wilson's bound. Returns mean, interval95 and controls: name -> mean, gain,
    gain_interval95, p (of no difference, two-sided, at least 2^(1 - n) of n patients) and p_holm; intervals
    and p are None for fewer than two patients.
    """
    columns = np.column_stack([values, *(values - control for control in controls.values())])
    several = _count(patients) >= 2
    found = [estimate([each]) for each in _sampled(columns, patients, seed)] if several else []
    bounds = [list(one.interval) if one.value is not None else None for one in found]
    if several and bool((values == values[0]).all()) and values[0] in (0, 1):
        count = _count(patients)
        bounds[0] = list(wilson(count if values[0] else 0, count))
    # All of n patients on one side is what chance alone does with this p; a bootstrap of few knows no better.
    least = 2.0 ** (1 - _count(patients))
    p_values = [None if one.p is None else max(one.p, least) for one in found[1:]] or [None] * len(controls)
    adjusted = holm(p_values)
    return {
        "mean": float(values.mean()),
        "interval95": cast("list[float] | None", bounds[0] if several else None),
        "controls": {
            name: {
                "mean": float(control.mean()),
                "gain": float((values - control).mean()),
                "gain_interval95": cast("list[float] | None", bounds[1 + place] if several else None),
                "p": p_values[place],
                "p_holm": adjusted[place],
            }
            for place, (name, control) in enumerate(controls.items())
        },
    }


def _sampled(columns: Floats, patients: Sequence[str], seed: int) -> list[Sampled]:
    """The mean of each of columns [N,C], and its values in bootstrap samples of whole patients."""
    rng = np.random.default_rng(seed)
    parts = [(w @ columns) / w.sum(axis=1, keepdims=True) for w in weight_chunks(patients, DRAWS, rng)]
    draws = np.concatenate(parts)
    means = columns.mean(axis=0)
    return [Sampled(float(mean), draws[:, place]) for place, mean in enumerate(means)]


def verdict(gain: Gain) -> str:
    """Name what a gain says of its control: "better", "worse", or that neither is shown.

    Better or worse is what has 0 outside its interval and p, by Holm's rule, below `LEVEL`.
    """
    bounds, p = gain["gain_interval95"], gain["p_holm"]
    if bounds is None or p is None:
        return "not comparable"
    if p < LEVEL and bounds[0] > 0:
        return "better"
    return "worse" if p < LEVEL and bounds[1] < 0 else "not shown to be better"


def _counts(rows: Sequence[LocalizationRow]) -> KindFigures:
    return {"n": len(rows), "patients": _count(_patients(rows))}


def _count(patients: Sequence[str]) -> int:
    return len({name or i for i, name in enumerate(patients)})


def _patients(rows: Sequence[LocalizationRow]) -> list[str]:
    return [row.get("patient_id") or "" for row in rows]


def _column(rows: Sequence[LocalizationRow], name: str) -> Floats:
    return np.array([number_in(row, name) for row in rows], np.float64)


def _controls(rows: Sequence[LocalizationRow], measure: str) -> dict[str, Floats]:
    """Return what each control that every row has reaches in a measure."""
    columns = {name: f"{prefix}{measure}" for name, prefix in CONTROLS.items()}
    return {
        name: _column(rows, column)
        for name, column in columns.items()
        if all(row.get(column) is not None for row in rows)
    }
