"""The quality of a localization, and whether it is better than chance; section 4.4.6.

Chance is not zero: a blob in the middle of a chest overlaps many findings. Two controls stand beside every
figure: `shuffled`, the attention that the same networks gave to other patients' images, which has the same
shapes and the same liking for the middle; and `untrained`, the same networks with the weights they start
from. Patients, not images, are the unit of every interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt

from magsd_cli.localization.measure import IOU, LUNGS, SHARES, LocalizationRow, kind_of, number_in
from magsd_cli.metrics.intervals import bootstrap, share_interval

Floats = npt.NDArray[np.float64]

CONTROLS = {"shuffled": "control_", "untrained": "untrained_"}  # and the prefix of their columns


class Gain(TypedDict):
    """The mean of a control, and by how much the attention exceeds it, with its interval."""

    mean: float
    gain: float
    gain_interval95: list[float] | None


class Score(TypedDict):
    """A measure's mean over images, its interval over patients, and what each control says of it."""

    mean: float
    interval95: list[float] | None
    controls: dict[str, Gain]


_Over = TypedDict("_Over", {"over_0.25": Score, "over_0.5": Score}, total=False)


class KindFigures(_Over, total=False):
    """The figures of one kind of truth: `n` images of `patients`, and the measures that the kind has."""

    n: int
    patients: int
    median: float
    iou: Score
    pointing: Score
    inside: Score


def figures_by_kind(rows: Sequence[LocalizationRow]) -> dict[str, KindFigures]:
    """The figures of localization rows for `BOXES`, `MASK` and `LUNGS`, where there are any.

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
        chance = {"area": "lungs_share", "shuffled": "control_lungs", "untrained": "untrained_lungs"}
        inside = _column(part, "lungs_inside")
        found[LUNGS] = {
            **_counts(part),
            "inside": figure(inside, _controls(part, chance), _patients(part)),
        }
    return found


def _iou_figures(rows: Sequence[LocalizationRow], iou: str) -> KindFigures:
    patients, values = _patients(rows), _column(rows, iou)
    figures: dict[str, object] = {
        "median": float(np.median(values)),
        "iou": figure(values, _controls(rows, {k: p + iou for k, p in CONTROLS.items()}), patients),
    }
    for share in SHARES:
        columns = {name: f"{prefix}over_{share:g}" for name, prefix in CONTROLS.items()}
        over = (values >= share).astype(np.float64)
        figures[f"over_{share:g}"] = figure(over, _controls(rows, columns), patients)
    columns = {name: f"{prefix}pointing" for name, prefix in CONTROLS.items()}
    figures["pointing"] = figure(_column(rows, "pointing_hit"), _controls(rows, columns), patients)
    return cast("KindFigures", figures)


def figure_of(figures: KindFigures, measure: str) -> Score | None:
    """A measure of a kind of truth by its name; None where the kind has no such measure."""
    return cast("Score | None", figures.get(measure))


def figure(values: Floats, controls: Mapping[str, Floats], patients: Sequence[str], seed: int = 0) -> Score:
    """Mean of a measure over images with its interval over patients; the same of the gain over each control.

    values: [N] in 0..1; controls: name -> [N], what the control reaches on the same images; patients: the
    patient of each image, "" a patient of its own. A share of none or all gets Wilson's bound.
    Returns mean, interval95 and controls: name -> mean, gain, gain_interval95; intervals are None for fewer
    than two patients.
    """
    rng = np.random.default_rng(seed)
    shares = bool(np.isin(values, (0, 1)).all())
    return {
        "mean": float(values.mean()),
        "interval95": _share(values, patients, rng) if shares else interval(values, patients, rng),
        "controls": {
            name: {
                "mean": float(control.mean()),
                "gain": float((values - control).mean()),
                "gain_interval95": interval(values - control, patients, rng),
            }
            for name, control in controls.items()
        },
    }


def interval(values: Floats, patients: Sequence[str], rng: np.random.Generator) -> list[float] | None:
    """The 95% bootstrap interval over patients of the mean of `values` [N]; None for fewer than two."""
    if _count(patients) < 2:
        return None
    found = bootstrap(lambda weights: weights @ values / weights.sum(axis=1), patients, rng)
    return None if found.low is None or found.high is None else [found.low, found.high]


def verdict(gain_interval: Sequence[float] | None) -> str:
    """Name what a gain's interval says of chance: "better", "worse", or that neither is shown."""
    if gain_interval is None:
        return "not comparable"
    if gain_interval[0] > 0:
        return "better"
    return "worse" if gain_interval[1] < 0 else "not shown to be better"


def _share(values: Floats, patients: Sequence[str], rng: np.random.Generator) -> list[float] | None:
    found = share_interval(np.ones(len(values), bool), values > 0, patients, rng)
    if found.low is None or found.high is None or _count(patients) < 2:
        return None
    return [found.low, found.high]


def _counts(rows: Sequence[LocalizationRow]) -> KindFigures:
    return {"n": len(rows), "patients": _count(_patients(rows))}


def _count(patients: Sequence[str]) -> int:
    return len({name or i for i, name in enumerate(patients)})


def _patients(rows: Sequence[LocalizationRow]) -> list[str]:
    return [row.get("patient_id") or "" for row in rows]


def _column(rows: Sequence[LocalizationRow], name: str) -> Floats:
    return np.array([number_in(row, name) for row in rows], np.float64)


def _controls(rows: Sequence[LocalizationRow], columns: Mapping[str, str]) -> dict[str, Floats]:
    """The controls that every row has."""
    return {
        name: _column(rows, column)
        for name, column in columns.items()
        if all(row.get(column) is not None for row in rows)
    }
