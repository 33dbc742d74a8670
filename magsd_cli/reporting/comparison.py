"""Several runs side by side: their table, cost, ROC curves (Fig. 6) and confusion matrices (Fig. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.reporting.document import Block, Caution, Figure, Heading, Table, mean_and_deviation, percent
from magsd_cli.reporting.figures import Curve, confusion_grid, roc_figure
from magsd_cli.reporting.performance import COLUMNS

EMPHASISED = 3  # Fig. 6: "Top-3 highest AUC values and their ROC curves are emphasized"


@dataclass(frozen=True)
class Answers:
    """What a run said of its images, sorted by image: truth int64 [N], probabilities [N, K], patients."""

    image_ids: tuple[str, ...]
    truth: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    patients: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """What a network costs: parameters, multiply-adds of one image, seconds of training (None: unknown)."""

    parameters: int
    multiply_adds: int
    seconds: float | None
    epochs: int


@dataclass(frozen=True)
class Contender:
    """A run in a comparison: its metrics, its macro ROC curve, which images it was tested on (a digest).

    `rows` are the (table, row) of the paper that it stands for.
    """

    name: str
    title: str
    metrics: Mapping[str, Any] = field(repr=False)
    curve: Curve | None
    digest: str
    folds: str
    answers: Answers | None = field(default=None, repr=False)
    rows: tuple[tuple[int, str], ...] = ()
    cost: Cost | None = None


def comparison_blocks(runs: Sequence[Contender]) -> list[Block]:
    """Cautions and the table of all runs: mean ± SD over the folds."""
    return [*_cautions(runs), Heading("Results"), comparison_table(runs)]


def picture_blocks(runs: Sequence[Contender]) -> list[Block]:
    """Fig. 6 and Fig. 8: macro ROC curves in one picture, confusion matrices side by side."""
    blocks: list[Block] = []
    curves = [(run, run.curve) for run in runs if run.curve is not None]
    if curves:
        blocks += [Heading("ROC curves"), _roc([(run.title, curve) for run, curve in curves])]
    blocks.append(Heading("Confusion matrices"))
    for number, classes in enumerate(dict.fromkeys(tuple(run.metrics["classes"]) for run in runs)):
        alike = [run for run in runs if tuple(run.metrics["classes"]) == classes]
        blocks.append(_confusions(alike, classes, number))
    return blocks


def _confusions(runs: Sequence[Contender], classes: tuple[str, ...], number: int) -> Figure:
    matrices = {run.title: np.asarray(run.metrics["pooled"]["confusion"]) for run in runs}
    words = "; ".join(f"{title}: {_called_right(matrix, classes)}" for title, matrix in matrices.items())
    return Figure(
        "confusions" if number == 0 else f"confusions-{number + 1}",
        confusion_grid(matrices, classes),
        f"Confusion matrix of each run. Called right: {words}.",
        "Rows are the truth. Above: share of the row; below: images. All out-of-fold images pooled.",
    )


def _called_right(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    return ", ".join(f"{name} {matrix[k, k]} of {matrix[k].sum()}" for k, name in enumerate(classes))


def cost_table(runs: Sequence[Contender]) -> Table:
    """Parameters, multiply-adds and training time of each run."""
    rows = []
    for run in runs:
        if run.cost is None:
            rows.append((run.title, "n/a", "n/a", "n/a", "n/a"))
            continue
        seconds, epochs = run.cost.seconds, run.cost.epochs
        rows.append(
            (
                run.title,
                f"{run.cost.parameters / 1e6:.2f}",
                f"{run.cost.multiply_adds / 1e9:.2f}",
                "n/a" if seconds is None else f"{seconds / 60:.1f}",
                "n/a" if seconds is None or not epochs else f"{seconds / epochs:.1f}",
            )
        )
    caption = (
        "Multiply-adds: of one image of the recipe's size, forward. Time: the sum over the folds' epochs, as "
        "they came on this machine."
    )
    head = ("run", "parameters (M)", "multiply-adds (G)", "training (min)", "an epoch of a fold (s)")
    return Table(caption, head, tuple(rows))


def _cautions(runs: Sequence[Contender]) -> list[Block]:
    found = []
    if len({_images(run) for run in runs}) > 1:
        found.append(
            "The runs were not tested on the same images: their figures cannot be compared directly."
        )
    elif len({run.folds for run in runs}) > 1:
        found.append("The runs have the same images but other folds: small differences may come from that.")
    if any(not run.metrics.get("patients_known", True) for run in runs):
        found.append("Patients are unknown in at least one run: its figures may be too good.")
    return [Caution(text) for text in found]


def _images(run: Contender) -> tuple[str, ...]:
    """What a run was tested on: its images, or, where its predictions are gone, its cache."""
    return (run.digest,) if run.answers is None else run.answers.image_ids


def comparison_table(runs: Sequence[Contender]) -> Table:
    """A row a run, in the paper's layout; the best mean of each column is marked with a star."""
    best = {
        metric: max((run.metrics["mean"][metric] or 0.0 for run in runs), default=0.0) for metric in COLUMNS
    }
    rows = []
    for run in runs:
        mean, deviation = run.metrics["mean"], run.metrics["std"]
        cells = []
        for metric in COLUMNS:
            star = " *" if len(runs) > 1 and mean[metric] is not None and mean[metric] == best[metric] else ""
            cells.append(mean_and_deviation(mean[metric], deviation[metric]) + star)
        rows.append((run.title, run.name, str(run.metrics["pooled"]["n"]), *cells))
    caption = (
        "Mean ± standard deviation over the folds, in percent, out of fold. *: the highest of the column."
    )
    return Table(caption, ("recipe", "run", "n", *(f"{name} (%)" for name in COLUMNS.values())), tuple(rows))


def _roc(curves: Sequence[tuple[str, Curve]]) -> Figure:
    ranked = sorted((curve.area for _, curve in curves if curve.area is not None), reverse=True)
    least = ranked[min(EMPHASISED, len(ranked)) - 1] if ranked else 2.0
    shown = [
        Curve(name, curve.false_rate, curve.true_rate, curve.area, (curve.area or 0.0) >= least)
        for name, curve in curves
    ]
    areas = ", ".join(f"{curve.name} {percent(curve.area)} %" for curve in shown)
    return Figure(
        "roc",
        roc_figure(shown, "Macro ROC, all out-of-fold images pooled"),
        f"Macro ROC curve of each run. Areas: {areas}.",
        "Mean over the classes, each against the rest. The three highest areas are drawn thick.",
    )
