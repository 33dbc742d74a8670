"""Predictions on another hospital's images, for the report: with their true labels, in one file or two."""

from __future__ import annotations

from pathlib import Path

from magsd_cli.evaluation.external import read_labelled, read_labelled_csv
from magsd_cli.evaluation.facts import Decision
from magsd_cli.metrics.rates import summary
from magsd_cli.render.document import Block, Bullets, Heading, Paragraph, Table
from magsd_cli.report.sections.operating_point import frozen_threshold_table
from magsd_cli.report.sections.performance import class_table, overall_table


def external_section(
    path: Path,
    classes: tuple[str, ...],
    decision: Decision | None = None,
    labels: Path | None = None,
    model_sha256: str = "",
) -> list[Block]:
    """Score outside images: the table that predict made in `path` with the CSV `labels`, or a CSV `path`
    alone, with the columns label, p_<class> of every class, and, if known, patient_id.

    `decision`: the stored operating point, whose threshold is tried as it is.

    Raises `ArtifactError` for a file that cannot be read, a missing column, an unknown label or probabilities
    that are none, with the row's number, and for predictions of other networks than `model_sha256`.
    """
    found = read_labelled(path, labels, classes, model_sha256) if labels else read_labelled_csv(path, classes)
    outside = found.predictions
    pooled = summary(outside.truth, outside.probabilities, classes)
    overall, intervals = overall_table(pooled, outside)
    words = (
        f"{len(outside)} images from {path.name}, scored as they stand there: nothing was fitted to them. "
        + ("They were predicted by this run; that" if labels else "That they were predicted by this run, and")
        + " they are of patients that it has never seen is the word of whoever made the file."
    )
    tables: list[Table] = [overall, class_table(pooled, intervals)]
    if decision is not None:
        tables.append(frozen_threshold_table(decision, outside))
    notes = [Bullets(found.notes)] if found.notes else []
    return [Heading("Outside data"), Paragraph(words), *notes, *tables]
