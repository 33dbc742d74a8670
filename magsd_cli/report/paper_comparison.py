"""Runs beside the paper's tables 3 to 8: its layout, its figures, the differences, and both rankings."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from magsd_cli.evaluation.comparison import ComparedRun
from magsd_cli.render.document import Block, Heading, Paragraph, Table, mean_and_deviation
from magsd_cli.report.paper_tables import SETS, Published, published_figures
from magsd_cli.report.sections.performance import COLUMNS

TITLES = {
    3: "Table 3: the networks compared",
    4: "Table 4: with and without CLAHE",
    5: "Table 5: scales of the attention",
    6: "Table 6: pooling",
    7: "Table 7: attention-guided augmentation",
    8: "Table 8: the regularization",
}

METRICS = ("accuracy", "sensitivity", "specificity", "f1")


def published_blocks(runs: Sequence[ComparedRun]) -> list[Block]:
    """A section for each table of the paper that a run has a row in: table, differences, rankings."""
    tables = sorted({table for run in runs for table, _ in run.rows})
    blocks: list[Block] = []
    for table in tables:
        inside = [(row, run) for run in runs for number, row in run.rows if number == table]
        blocks += [Heading(TITLES[table], 3), *_table(table, inside)]
    if blocks:
        blocks.insert(0, Heading("Beside the paper's tables"))
    return blocks


def _table(table: int, inside: Sequence[tuple[str, ComparedRun]]) -> list[Block]:
    data_set = SETS.get(len(inside[0][1].metrics["classes"]), "A")
    figures = published_figures()
    order = list(dict.fromkeys(row for number, row, _, _ in figures if number == table))
    inside = sorted(inside, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))
    theirs = [figures.get((table, row, data_set, "accuracy")) for row, _ in inside]
    ours = [run.metrics["mean"]["accuracy"] for _, run in inside]
    our_ranks, their_ranks = _ranks(ours), _ranks([figure.mean if figure else None for figure in theirs])
    rows = []
    for place, (row, run) in enumerate(inside):
        mean, deviation = run.metrics["mean"], run.metrics["std"]
        known = [figures.get((table, row, data_set, metric)) for metric in METRICS]
        rows.append(
            (
                row if [r for r, _ in inside].count(row) == 1 else f"{row}: {run.title}",
                *(mean_and_deviation(mean[metric], deviation[metric]) for metric in METRICS),
                *(mean_and_deviation(*figure) if figure else "n/a" for figure in known),
                _difference(ours[place], theirs[place]),
                our_ranks[place],
                their_ranks[place],
            )
        )
    names = [COLUMNS[metric] for metric in METRICS]
    head = ("row", *(f"{name} (%)" for name in names), *(f"paper's {name}" for name in names))
    caption = (
        "Mean ± standard deviation over the folds, in percent. The paper's figures are those of its data "
        f"set {data_set} (other images, its own budget), so the difference of the accuracies, in points, is "
        "no test of either. Rank 1: the highest accuracy of the rows shown."
    )
    shown = Table(caption, (*head, "difference", "rank", "paper's rank"), tuple(rows))
    return [shown, Paragraph(_agreement(ours, theirs))]


def _difference(ours: float | None, theirs: Published | None) -> str:
    return "n/a" if ours is None or theirs is None else f"{100 * (ours - theirs.mean):+.2f}"


def _ranks(values: Sequence[float | None]) -> list[str]:
    """Rank 1 for the highest; equal values share the better rank."""
    return ["n/a" if v is None else str(1 + sum(w is not None and w > v for w in values)) for v in values]


def _agreement(ours: Sequence[float | None], theirs: Sequence[Published | None]) -> str:
    """Say how the two rankings agree: Spearman's correlation."""
    pairs = [(a, b.mean) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(pairs) < 3 or len({a for a, _ in pairs}) < 2:
        return "Too few rows, or all alike, to compare our ranking with the paper's."
    ranks = pd.DataFrame(pairs).rank()
    rank = float(ranks[0].corr(ranks[1]))  # Spearman's: Pearson's of the ranks
    return (
        f"Our ranking against the paper's, over {len(pairs)} rows: Spearman's correlation {rank:+.2f} "
        "(1: the same order, 0: none in common, -1: the reverse)."
    )
