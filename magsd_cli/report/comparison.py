"""Several runs side by side: their table, cost, ROC curves (Fig. 6) and confusion matrices (Fig. 8)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli import __version__
from magsd_cli.artifacts.suites import SuiteRow, suite_file
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.comparison import (
    ComparedRun,
    by_repeats,
    compared_run,
    joined,
    papers_rows,
    with_distinct_titles,
)
from magsd_cli.evaluation.results import Results
from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Bullets,
    Caution,
    Commands,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    code,
    mean_and_deviation,
    percent,
)
from magsd_cli.render.fig6_roc import Curve, roc_figure
from magsd_cli.render.fig8_confusion import confusion_grid
from magsd_cli.report.paper_comparison import published_blocks
from magsd_cli.report.sections.performance import COLUMNS, roc_curves
from magsd_cli.report.significance import statistics_blocks

EMPHASISED = 3  # Fig. 6: "Top-3 highest AUC values and their ROC curves are emphasized"


def comparison_blocks(runs: Sequence[ComparedRun]) -> list[Block]:
    """Cautions and the table of all runs: mean ± SD over the folds."""
    return [*_cautions(runs), Heading("Results"), comparison_table(runs)]


def picture_blocks(runs: Sequence[ComparedRun]) -> list[Block]:
    """Fig. 6 and Fig. 8: macro ROC curves in one picture, confusion matrices side by side."""
    blocks: list[Block] = []
    curves = [(run.title, curve) for run in runs if (curve := _macro_curve(run)) is not None]
    if curves:
        blocks += [Heading("ROC curves"), _roc(curves)]
    blocks.append(Heading("Confusion matrices"))
    for number, classes in enumerate(dict.fromkeys(tuple(run.metrics["classes"]) for run in runs)):
        alike = [run for run in runs if tuple(run.metrics["classes"]) == classes]
        blocks.append(_confusions(alike, classes, number))
    return blocks


def _confusions(runs: Sequence[ComparedRun], classes: tuple[str, ...], number: int) -> Figure:
    matrices = {run.title: np.asarray(run.metrics["pooled"]["confusion"]) for run in runs}
    words = "; ".join(f"{title}: {_called_right(matrix, classes)}" for title, matrix in matrices.items())
    return Figure(
        "confusions" if number == 0 else f"confusions-{number + 1}",
        confusion_grid(matrices, classes),
        f"Confusion matrix of each run. Accuracy: {words}.",
        "Rows are the truth. Above: share of the row; below: images. All out-of-fold images pooled.",
    )


def _called_right(matrix: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    return ", ".join(f"{name} {matrix[k, k]} of {matrix[k].sum()}" for k, name in enumerate(classes))


def cost_table(runs: Sequence[ComparedRun]) -> Table:
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
        "they came on this machine; of repeats the mean of one."
    )
    head = ("run", "parameters (M)", "multiply-adds (G)", "training (min)", "an epoch of a fold (s)")
    return Table(caption, head, tuple(rows))


def _cautions(runs: Sequence[ComparedRun]) -> list[Block]:
    found = []
    single = sum(len(run.runs) == 1 for run in runs)
    if single:
        which = "The rows are" if single == len(runs) else f"{single} of {len(runs)} rows are"
        found.append(
            f"{which} one run each: trained networks are compared, and another seed may turn it over. "
            f"Methods are compared where there are repeats ({code('magsd cv --repeats 3')})."
        )
    if len({_images(run) for run in runs}) > 1:
        found.append(
            "The runs were not tested on the same images: their figures cannot be compared directly."
        )
    elif _have_other_folds(runs):
        found.append("The runs have the same images but other folds: small differences may come from that.")
    if any(not run.metrics.get("patients_known", True) for run in runs):
        found.append("Patients are unknown in at least one run: its figures may be too good.")
    return [Caution(text) for text in found]


def _images(run: ComparedRun) -> tuple[str, ...]:
    """Return the images a run was tested on, or, where its predictions are gone, its cache."""
    first = run.runs[0]
    return (first.digest,) if first.predictions is None else first.predictions.image_ids


def _have_other_folds(rows: Sequence[ComparedRun]) -> bool:
    """Return whether runs of one seed have other folds; where the rows share no seed, their first runs."""
    shared = set.intersection(*({run.seed for run in row.runs} for row in rows))
    if not shared:
        return len({_folds(row.runs[0]) for row in rows}) > 1
    runs = [run for row in rows for run in row.runs]
    return any(len({_folds(run) for run in runs if run.seed == seed}) > 1 for seed in shared)


def _folds(run: ComparedRun) -> tuple[int, ...]:
    return () if run.predictions is None else tuple(run.predictions.tested_in().tolist())


def comparison_table(runs: Sequence[ComparedRun]) -> Table:
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
        "Mean ± standard deviation over the folds (of all repeats), in percent, out of fold. *: the highest "
        "of the column."
    )
    return Table(caption, ("recipe", "run", "n", *(f"{name} (%)" for name in COLUMNS.values())), tuple(rows))


def _macro_curve(run: ComparedRun) -> Curve | None:
    if run.predictions is None:
        return None
    curves = roc_curves(run.predictions)
    return curves[-1] if curves else None


def _roc(curves: Sequence[tuple[str, Curve]]) -> Figure:
    ranked = sorted((curve.area for _, curve in curves if curve.area is not None), reverse=True)
    least = ranked[min(EMPHASISED, len(ranked)) - 1] if ranked else 2.0
    shown = [
        Curve(name, curve.false_rate, curve.true_rate, curve.area, (curve.area or 0.0) >= least)
        for name, curve in curves
    ]
    areas = ", ".join(f"{curve.name} {percent(curve.area)}%" for curve in shown)
    return Figure(
        "roc",
        roc_figure(shown, "Macro ROC, all out-of-fold images pooled"),
        f"Macro ROC curve of each run. Areas: {areas}.",
        "Mean over the classes, each against the rest. The three highest areas are drawn thick.",
    )


def compare_runs(
    found: Sequence[Results],
    rows: Mapping[Path, Sequence[SuiteRow]],
    commands: Sequence[str],
    reference: str | None = None,
) -> Document:
    """The comparison of several runs; `rows` are what they stand for in a suite.

    Runs that differ in their seed alone are repeats, one row together. `reference` names the row that the
    others are compared with (None: the best). Raises `ArtifactError` for a run without metrics, `UsageError`
    for a reference that is none.
    """
    for results in found:
        if results.metrics is None:
            raise ArtifactError(f"{results.run.path}: {results.missing['metrics']}; leave the run out")
    groups = by_repeats(found)
    named = papers_rows([group[0].run.recipe for group in groups])
    runs = with_distinct_titles(
        [
            joined([compared_run(results, rows.get(results.run.path, ()), own) for results in group])
            for group, own in zip(groups, named, strict=True)
        ]
    )
    folders = [str(results.run.path) for results in found]
    named_row = [] if reference is None else ["--reference", reference]
    again = Commands((shlex.join(["magsd", "report", *folders, *named_row]),))
    blocks: list[Block] = [
        *_opening(
            found,
            [
                *(Commands((line,)) for line in commands),
                *_typed([e for e in found if e.run.path not in rows]),
            ],
        ),
        *_left_out([row for path, some in rows.items() for row in some if suite_file(path).exists()]),
        *comparison_blocks(runs),
        *published_blocks(runs),
        *statistics_blocks(runs, reference),
        Heading("What they cost"),
        cost_table(runs),
        *picture_blocks(runs),
        Heading("How to reproduce"),
        again,
    ]
    return Document(f"Comparison of {len(found)} runs", tuple(blocks))


def _opening(found: Sequence[Results], commands: Sequence[Commands]) -> list[Block]:
    """Command line, hardware and budget come first: they say what the figures can mean."""
    recipes = [results.run.recipe for results in found]
    machines = {
        f"{session['machine']['cores']} cores ({session['machine']['processor']}), "
        f"{', '.join(dict.fromkeys(session['devices']))}"
        for results in found
        for session in (results.provenance or {}).get("sessions", [])
    }
    budget = (
        f"Epochs {_span([r.train.epochs for r in recipes])}, images of "
        f"{_span([r.image.size for r in recipes])} px, "
        f"{_span([e.run.fold_count for e in found])} folds, first weights: "
        f"{', '.join(sorted({r.model.weights for r in recipes}))}. "
        f"Machine: {'; '.join(sorted(machines)) or 'not available'}."
    )
    epochs = min(recipe.train.epochs for recipe in recipes)
    opening: list[Block] = [
        Paragraph(f"{len(found)} runs side by side. Made by magsd {__version__}, with:"),
        *commands,
        Paragraph(budget),
        Caution(f"{NOT_FOR_DIAGNOSIS} A research tool, not a medical device."),
    ]
    if epochs < 100:
        words = f"{epochs} epochs where the paper trains 100. The figures rank short trainings, not methods."
        opening.append(Caution(f"A reduced budget: {words}"))
    return opening


def _typed(found: Sequence[Results]) -> list[Commands]:
    """The command lines that made the runs, each once."""
    sessions = [session for results in found for session in (results.provenance or {}).get("sessions", [])]
    lines = dict.fromkeys(shlex.join(["magsd", *session["command"][1:]]) for session in sessions)
    return [Commands(tuple(lines))] if lines else []


def _span(values: Sequence[int]) -> str:
    return " and ".join(str(value) for value in sorted(set(values)))


def _left_out(rows: Sequence[SuiteRow]) -> list[Block]:
    if not rows:
        return []
    items = tuple(f"{row.words}: {row.problem or 'not begun'}" for row in rows)
    return [Paragraph("Rows without a run:"), Bullets(items)]
