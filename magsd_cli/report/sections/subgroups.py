"""The figures for women and men, age bands, views and sources apart. Groups under ten images stay hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from magsd_cli.evaluation.cross_validation import Rates
from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.intervals import rate_intervals
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.rates import summary
from magsd_cli.render.document import Block, Caution, Heading, Paragraph, Table, interval_text, percent

if TYPE_CHECKING:
    import pandas as pd


LEAST = 10
DRAWS = 500
AGE_BANDS = ((0, 18, "under 18"), (18, 40, "18-39"), (40, 65, "40-64"), (65, 200, "65 and over"))
FEATURES = {"sex": "sex", "age": "age", "view": "view", "source": "source"}


def subgroup_section(facts: Facts) -> list[Block]:
    """A table over the groups of each feature."""
    found, about = facts.scored, facts.results.tested
    if found is None or about is None:
        return []
    rows: list[tuple[str, ...]] = []
    hidden = 0
    for feature, words in FEATURES.items():
        names = _groups(about[feature], feature)
        for name in sorted(set(names)):
            own = names == name
            if own.all():
                continue  # one group alone is no subgroup
            if own.sum() < LEAST:
                hidden += 1
                continue
            rows.append(_row(f"{words}: {name}", found.where(own)))
    blocks: list[Block] = [Heading("Subgroups", 3)]
    if rows:
        caption = (
            "In percent, out of fold; intervals by bootstrap over patients. Groups differ in their mix of "
            "classes, and so can differ here without the network treating them differently."
        )
        head = ("group", "n", "images of each class", "accuracy [95% interval]", "AUC [95% interval]")
        blocks.append(Table(caption, head, tuple(rows)))
    else:
        blocks.append(Paragraph("Not available: no two groups of sex, age, view or source are known."))
    if hidden:
        blocks.append(Paragraph(f"{hidden} groups with fewer than {LEAST} images are not shown."))
    return blocks


def held_out_section(facts: Facts) -> list[Block]:
    """Each source under the network that saw none of it: figures with intervals, and what it never learnt."""
    found, sources = facts.scored, facts.results.run.held_out
    if found is None or not sources:
        return []
    rows, gaps = [], []
    for fold, name in enumerate(sources):
        own = found.tested_in() == fold
        rows.append(_row(name, found.where(own)))
        absent = [label for k, label in enumerate(found.classes) if not (found.truth[~own] == k).any()]
        if absent:
            gaps.append(
                f"All images of {', '.join(absent)} are from {name}: the network tested on it had never seen "
                "one. The figures in its row say nothing about that class."
            )
    caption = (
        "In percent; the network of each row was trained on the other sources alone. This is the closest "
        "that this data comes to a new hospital. What needs two classes is undefined where there is one."
    )
    head = ("source held out", "n", "images of each class", "accuracy [95% interval]", "AUC [95% interval]")
    return [
        Heading("Sources held out", 3),
        Table(caption, head, tuple(rows)),
        *(Caution(gap) for gap in gaps),
    ]


def _groups(values: pd.Series[str], feature: str) -> npt.NDArray[np.object_]:
    texts = ["" if value is None or value != value else str(value) for value in values]  # noqa: PLR0124 (NaN)
    words = [_age_band(text) for text in texts] if feature == "age" else texts
    return np.asarray([word or "unknown" for word in words], object)


def _age_band(text: str) -> str:
    """The band of an age in years, such as 63 or 063Y; "" where it cannot be read."""
    digits = text.strip().upper().removesuffix("Y")
    try:
        age = float(digits)
    except ValueError:
        return ""
    return next((name for low, high, name in AGE_BANDS if low <= age < high), "")


def _why(figures: Rates) -> str:
    """Say in few words why a figure over all classes is undefined in a group."""
    there = [row["class"] for row in figures["per_class"] if row["n"]]
    absent = [row["class"] for row in figures["per_class"] if not row["n"]]
    return f"{there[0]} alone" if len(there) == 1 else f"no {', '.join(absent)}"


def _row(name: str, own: Predictions) -> tuple[str, ...]:
    figures = summary(own.truth, own.probabilities, own.classes)
    intervals = rate_intervals(own.truth, own.probabilities, own.patients, np.random.default_rng(0), DRAWS)
    counts = " / ".join(str(row["n"]) for row in figures["per_class"])
    cells = []
    for metric in ("accuracy", "auc"):
        value = figures[metric]
        bounds = f" {interval_text(intervals[metric])}" if value is not None else ""
        cells.append(percent(value, _why(figures), 1) + bounds)
    return (name, str(len(own)), counts, *cells)
