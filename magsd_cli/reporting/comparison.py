"""Several runs side by side: the paper's table, its layout, and their ROC curves in one picture (Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from magsd_cli.reporting.document import Block, Caution, Figure, Heading, Table, mean_and_deviation, percent
from magsd_cli.reporting.figures import Curve, roc_figure
from magsd_cli.reporting.performance import COLUMNS, confusion

EMPHASISED = 3  # Fig. 6: "Top-3 highest AUC values and their ROC curves are emphasized"


@dataclass(frozen=True)
class Contender:
    """A run in a comparison: its metrics, its macro ROC curve, which images it was tested on (a digest)."""

    name: str
    title: str
    metrics: Mapping[str, Any] = field(repr=False)
    curve: Curve | None
    digest: str
    folds: str


def comparison_blocks(runs: Sequence[Contender]) -> list[Block]:
    """Cautions, the table (mean ± SD over the folds), macro ROC curves, confusion matrices."""
    blocks: list[Block] = [*_cautions(runs), Heading("Results"), comparison_table(runs)]
    curves = [(run, run.curve) for run in runs if run.curve is not None]
    if curves:
        blocks += [Heading("ROC curves"), _roc([(run.name, curve) for run, curve in curves])]
    blocks.append(Heading("Confusion matrices"))
    for number, run in enumerate(runs):
        figure = confusion(run.metrics["pooled"]["confusion"], run.metrics["classes"])
        blocks.append(Heading(run.name, 3))
        blocks.append(
            Figure(f"confusion-{number + 1}", figure.png, f"{run.name}. {figure.alt}", figure.caption)
        )
    return blocks


def _cautions(runs: Sequence[Contender]) -> list[Block]:
    found = []
    if len({run.digest for run in runs}) > 1:
        found.append(
            "The runs were not tested on the same images: their figures cannot be compared directly."
        )
    elif len({run.folds for run in runs}) > 1:
        found.append("The runs have the same images but other folds: small differences may come from that.")
    if any(not run.metrics.get("patients_known", True) for run in runs):
        found.append("Patients are unknown in at least one run: its figures may be too good.")
    return [Caution(text) for text in found]


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
        rows.append((run.name, run.title, str(run.metrics["pooled"]["n"]), *cells))
    caption = (
        "Mean ± standard deviation over the folds, in percent, out of fold. *: the highest of the column."
    )
    return Table(caption, ("run", "recipe", "n", *(f"{name} (%)" for name in COLUMNS.values())), tuple(rows))


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
