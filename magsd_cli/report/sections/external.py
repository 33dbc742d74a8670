"""Predictions on another hospital's images, for the report: with their true labels, in one file or two."""

from __future__ import annotations

from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.rates import summary
from magsd_cli.render.document import Block, Bullets, Heading, Paragraph, Table
from magsd_cli.report.sections.operating_point import frozen_threshold_table
from magsd_cli.report.sections.performance import class_table, overall_table


def external_section(facts: Facts) -> list[Block]:
    """The figures on outside images; the stored threshold is tried on them as it is."""
    found, point = facts.external, facts.operating_point
    if found is None:
        return []
    outside = found.predictions
    pooled = summary(outside.truth, outside.probabilities, outside.classes)
    overall, intervals = overall_table(pooled, outside)
    by_this_run = "They were predicted by this run; that"
    if not found.by_this_run:
        by_this_run = "That they were predicted by this run, and"
    words = (
        f"{len(outside)} images from {found.path.name}, scored as they stand there: nothing was fitted to "
        f"them. {by_this_run} they are of patients that it has never seen is the word of whoever made the "
        "file."
    )
    tables: list[Table] = [overall, class_table(pooled, intervals)]
    if point is not None and point.decision is not None:
        tables.append(frozen_threshold_table(point.decision, outside))
    notes = [Bullets(found.notes)] if found.notes else []
    return [Heading("Outside data"), Paragraph(words), *notes, *tables]
