"""Each row with its interval, and against one of them: is it more than patients and seeds make?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magsd_cli.console import counted
from magsd_cli.errors import UsageError
from magsd_cli.evaluation.comparison import ComparedRun
from magsd_cli.metrics.intervals import DRAWS, Interval
from magsd_cli.metrics.significance import (
    COMPARED,
    Estimate,
    Sampled,
    difference,
    estimate,
    holm,
    sample_rates,
)
from magsd_cli.render.document import Block, Heading, Paragraph, Table, code, interval_text

SEED = 0
SHARE = Interval(0.0, 1.0)
METHOD = (
    f"Intervals are 95%, from {DRAWS:,} bootstrap samples of whole patients, paired by image. Of one run: "
    "percentiles over patients; it stands for the trained networks, and another seed gives other ones. Of "
    "repeats (runs with a seed and folds each): patients and repeats both vary, as cases and readers of a "
    "multi-reader study (Obuchowski and Rockette 1995; Student's t with the degrees of freedom of Hillis "
    "2007). Another set of training images is in none of them."
)

Samples = dict[int, dict[str, Sampled]]  # by id() of a run that has predictions


def interval_blocks(rows: Sequence[ComparedRun]) -> list[Block]:
    """Accuracy and AUC of each row with its interval, the spread of its seeds beside that of patients."""
    return _interval_blocks(rows, _sample(rows))


def contrast_blocks(rows: Sequence[ComparedRun], reference: str | None = None) -> list[Block]:
    """The table of paired differences from the row `reference`, or from the one with the highest accuracy.

    `reference` is a row's title, its recipe's name in a suite, or the folder of one of its runs. Raises
    `UsageError` where no row is called so.
    """
    return _contrast_blocks(rows, _sample(rows), reference)


def statistics_blocks(rows: Sequence[ComparedRun], reference: str | None = None) -> list[Block]:
    """Both, of the same bootstrap samples."""
    samples = _sample(rows)
    return [*_interval_blocks(rows, samples), *_contrast_blocks(rows, samples, reference)]


def _sample(rows: Sequence[ComparedRun]) -> Samples:
    """Figures and bootstrap samples of every run with predictions; runs on the same images share samples."""
    known = [run for row in rows for run in row.runs if run.predictions is not None]
    groups: dict[tuple[object, ...], list[ComparedRun]] = {}
    for run in known:
        assert run.predictions is not None
        groups.setdefault((run.predictions.image_ids, tuple(run.metrics["classes"])), []).append(run)
    samples: Samples = {}
    for group in groups.values():
        predictions = [run.predictions for run in group if run.predictions is not None]
        first = predictions[0]
        found = sample_rates(
            first.truth,
            [each.probabilities for each in predictions],
            first.patients,
            np.random.default_rng(SEED),
        )
        samples |= {id(run): figures for run, figures in zip(group, found, strict=True)}
    return samples


def _interval_blocks(rows: Sequence[ComparedRun], samples: Samples) -> list[Block]:
    lines = []
    for row in rows:
        figures = [samples[id(run)] for run in row.runs if id(run) in samples]
        if not figures:
            lines.append((row.title, str(len(row.runs)), *["n/a"] * 6))
            continue
        cells: list[str] = []
        for name in COMPARED:
            found = estimate([each[name] for each in figures], bounds=SHARE)
            cells += [_figure(found), _points(found.between_repeats), _points(found.over_patients)]
        lines.append((row.title, str(len(figures)), *cells))
    head = ["row", "runs"]
    for title in ("accuracy", "AUC"):
        head += [f"{title} (%) [95% interval]", "SD of seeds", "SE of patients"]
    caption = (
        "All out-of-fold images of a run pooled, mean over the runs. SD of seeds: the standard deviation "
        "over the repeats, in points; n/a for one run. SE of patients: that of one run's figure over other "
        "patients. "
    )
    return [
        Heading("Intervals: seeds and patients"),
        Table(caption + METHOD, tuple(head), tuple(lines)),
    ]


def _contrast_blocks(rows: Sequence[ComparedRun], samples: Samples, reference: str | None) -> list[Block]:
    chosen = None if reference is None else _named(rows, reference)
    known = [row for row in rows if all(id(run) in samples for run in row.runs)]
    heading = Heading(f"Differences from {'the best run' if chosen is None else chosen.title}")
    if len(known) < 2 or (chosen is not None and chosen not in known):
        return [heading, Paragraph("Not available: fewer than two runs have their predictions.")]
    best = chosen or max(known, key=lambda row: _mean(row, samples, "accuracy"))
    others = [row for row in known if row is not best and _same_images(row, best)]
    if not others:
        return [heading, Paragraph("Not available: no other run was tested on the images of the best one.")]
    pairs = [_pairs(row, best) for row in others]
    found = [{name: _difference(pair, samples, name) for name in COMPARED} for pair in pairs]
    adjusted = {name: holm([each[name].p for each in found]) for name in COMPARED}
    lines = []
    for place, (row, each) in enumerate(zip(others, found, strict=True)):
        cells = [cell for name in COMPARED for cell in _cells(each[name], adjusted[name][place])]
        lines.append((row.title, _what(len(pairs[place][0])), *cells))
    head = (
        "run", "compares", "accuracy [95% interval]", "SD of seeds", "p (Holm)",
        "AUC [95% interval]", "SD of seeds", "p (Holm)",
    )  # fmt: skip
    return [heading, Table(_caption(best, len(others), chosen is None), head, tuple(lines))]


def _difference(pair: tuple[list[ComparedRun], list[ComparedRun]], samples: Samples, name: str) -> Estimate:
    ours, theirs = ([samples[id(run)][name] for run in side] for side in pair)
    return difference(ours, theirs)


def _caption(best: ComparedRun, others: int, by_figures: bool) -> str:
    chosen = (
        "It was chosen by these very figures, so that it is best partly by chance; name one beforehand with "
        f"{code('--reference')}. "
        if by_figures
        else ""
    )
    return (
        f"Each row minus {best.title}, in percentage points, on the same images, pooled out of fold. {chosen}"
        "Two trained networks are compared where there is one run of each; methods, over patients and seeds, "
        "where there are repeats of both with the same seeds. p: two-sided, of no difference, adjusted by "
        f"Holm for {counted(others, 'comparison')}. An interval without 0 speaks for a difference."
    )


def _named(rows: Sequence[ComparedRun], reference: str) -> ComparedRun:
    folder = reference.rstrip("/").rsplit("/", 1)[-1]
    for row in rows:
        if reference in (row.title, row.recipe) or folder in (run.name for run in row.runs):
            return row
    known = "; ".join(row.title for row in rows)
    raise UsageError(f"--reference {reference}: no row is called so; the rows are: {known}")


def _mean(row: ComparedRun, samples: Samples, name: str) -> float:
    return float(np.mean([samples[id(run)][name].value for run in row.runs]))


def _same_images(row: ComparedRun, best: ComparedRun) -> bool:
    one, other = row.runs[0], best.runs[0]
    return (
        one.predictions is not None
        and other.predictions is not None
        and one.predictions.image_ids == other.predictions.image_ids
        and one.metrics["classes"] == other.metrics["classes"]
    )


def _pairs(row: ComparedRun, best: ComparedRun) -> tuple[list[ComparedRun], list[ComparedRun]]:
    """The runs of both with the same seeds, in their order; the first of each where they share none."""
    ours, theirs = ({run.seed: run for run in side.runs} for side in (row, best))
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return [row.runs[0]], [best.runs[0]]
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]


def _what(repeats: int) -> str:
    return "trained networks" if repeats == 1 else f"methods ({repeats} seeds)"


def _figure(found: Estimate) -> str:
    if found.value is None:
        return "n/a"
    return f"{100 * found.value:.2f} {interval_text(found.interval, 2)}"


def _points(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.2f}"


def _cells(found: Estimate, adjusted: float | None) -> tuple[str, str, str]:
    if found.value is None:
        return "n/a", "n/a", "n/a"
    p = "n/a" if adjusted is None else ("< 0.001" if adjusted < 0.001 else f"{adjusted:.3f}")
    between = interval_text(found.interval, 2, signed=True)
    return f"{100 * found.value:+.2f} {between}", _points(found.between_repeats), p
