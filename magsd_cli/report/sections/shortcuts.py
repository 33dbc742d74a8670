"""The shortcut audit in words: what can be told without looking at the lungs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magsd_cli.evaluation.facts import Facts
from magsd_cli.evaluation.lung_frames import MEASURES, FrameShares
from magsd_cli.evaluation.shortcuts import Association, Shortcut
from magsd_cli.render.document import (
    Block,
    Caution,
    Heading,
    Paragraph,
    Table,
    code,
    interval_text,
    not_available,
    percent,
)

#: From this AUC on (the lower end of its interval) what holds no lung tells a class well enough to worry.
TELLING = 0.75

ATTENTION = (
    "How much of the networks' attention lies inside the lungs, against their share of the image, stands "
    f"under Localization where {code('magsd localize --lungs')} has measured it."
)


def shortcut_cautions(shortcuts: Sequence[Shortcut], classes: Sequence[str]) -> list[Caution]:
    """One caution, in a clinician's words, where views without lungs tell a class; else none."""
    told = []
    for shortcut in shortcuts:
        telling = [
            f"{name} (AUC {percent(area, digits=1)}%)"
            for name, area, bounds in zip(classes, shortcut.areas, shortcut.intervals, strict=True)
            if shortcut.lungless and bounds.low is not None and bounds.low > TELLING
        ]
        if telling:
            told.append(f"from {shortcut.view} it recognises {', '.join(telling)}")
    if not told:
        return []
    return [
        Caution(
            f"A simple classifier that is shown no lung at all can tell the classes: {'; '.join(told)}. "
            "These pictures give their class away by how they were made. A network may use that instead of "
            "the disease, and then fails at another hospital."
        )
    ]


def shortcut_section(facts: Facts) -> list[Block]:
    """The tables of the audit, and how strongly source and class go together (Cramer's V)."""
    audit, classes = facts.shortcuts, facts.results.run.classes
    blocks: list[Block] = [Heading("Shortcut audit")]
    if audit.by_class:
        caption = (
            "How well small classifiers (logistic regression, out of fold, same folds) tell each class from "
            "the rest by what says little or nothing about the lungs: AUC in percent, 50 is chance; "
            f"intervals by bootstrap over patients. {audit.removed}"
        )
        blocks.append(_table(caption, audit.by_class, classes))
    else:
        missing = facts.results.missing.get("cache", "")
        blocks.append(not_available(missing or "there is one fold, or the others of some fold lack a class"))
    if audit.by_source:
        caption = "The same for each source: how well it is told from the others. A picture that tells its "
        caption += "source tells its class too, as far as the two go together."
        blocks.append(_table(caption, audit.by_source, audit.sources))
    if audit.frames:
        blocks.append(_frames(audit.frames, classes))
    return [*blocks, _association(audit.association), Paragraph(ATTENTION)]


def _frames(frames: Sequence[FrameShares], classes: Sequence[str]) -> Table:
    """How often two lungs were not found, and how films are cut, by class."""
    caption = (
        "Films cut to their lungs: on how many two lungs were not found, so that they are kept whole, in "
        "percent, intervals over patients; and the box around the lungs, mean and standard deviation in "
        f"percent of the film ({MEASURES[-1]}: in percent too). Classes that differ here can be told by the "
        "crop alone."
    )
    rows = []
    for name, own in zip(classes, frames, strict=True):
        share = percent(own.whole / own.films if own.films else None, digits=1)
        cells = ["n/a"] * len(MEASURES)
        if own.means is not None and own.deviations is not None:
            pairs = zip(own.means, own.deviations, strict=True)
            cells = [f"{percent(mean, digits=1)} ± {percent(spread, digits=1)}" for mean, spread in pairs]
        rows.append((name, str(own.films), f"{share} {interval_text(own.interval)}", *cells))
    return Table(caption, ("class", "films", "kept whole", *MEASURES), tuple(rows))


def _table(caption: str, shortcuts: Sequence[Shortcut], names: Sequence[str]) -> Table:
    rows = []
    for shortcut in shortcuts:
        cells = [
            f"{percent(None if np.isnan(area) else area, digits=1)} {interval_text(bounds)}"
            for area, bounds in zip(shortcut.areas, shortcut.intervals, strict=True)
        ]
        rows.append((shortcut.view, *cells))
    return Table(caption, ("what the classifier sees", *names), tuple(rows))


def _association(found: Association | None) -> Paragraph:
    start = "Association of source and class (Cramer's V; 0: none, 1: one settles the other): "
    if found is None:
        return Paragraph(f"{start}n/a, all images come from one source or it is not known.")
    bounds = interval_text(found.interval, 2, 1)
    return Paragraph(
        f"{start}{found.plain:.2f}; corrected for bias {found.corrected:.2f}, 95% interval {bounds}."
    )
