"""Predictions on another hospital's images, for the report: with their true labels, in one file or two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magsd_cli.artifacts.tables import SUM_TOLERANCE, probability_column
from magsd_cli.errors import ArtifactError
from magsd_cli.metrics.rates import summary
from magsd_cli.reporting.decided import frozen_threshold_table
from magsd_cli.reporting.document import Block, Bullets, Heading, Paragraph, Table
from magsd_cli.reporting.performance import class_table, overall_table
from magsd_cli.stages.labelled import Labelled, read_labelled


def external_section(
    path: Path,
    classes: tuple[str, ...],
    decision: Mapping[str, Any] | None = None,
    labels: Path | None = None,
    model_sha256: str = "",
) -> list[Block]:
    """Score outside images: the table that predict made in `path` with the CSV `labels`, or a CSV `path`
    alone, with the columns label, p_<class> of every class, and, if known, patient_id.

    `decision`: the stored operating point, whose threshold is tried as it is.

    Raises `ArtifactError` for a file that cannot be read, a missing column, an unknown label or probabilities
    that are none, with the row's number, and for predictions of other networks than `model_sha256`.
    """
    found = read_labelled(path, labels, classes, model_sha256) if labels else _read(path, classes)
    truth, probabilities, patients = found.truth, found.probabilities, found.patients
    pooled = summary(truth, probabilities, classes)
    overall, intervals = overall_table(pooled, truth, probabilities, patients)
    words = (
        f"{len(truth)} images from {path.name}, scored as they stand there: nothing was fitted to them. "
        + ("They were predicted by this run; that" if labels else "That they were predicted by this run, and")
        + " they are of patients that it has never seen is the word of whoever made the file."
    )
    tables: list[Table] = [overall, class_table(pooled, intervals)]
    if decision is not None:
        number = classes.index(decision["positive"])
        tables.append(frozen_threshold_table(decision, truth == number, probabilities[:, number], patients))
    notes = [Bullets(found.notes)] if found.notes else []
    return [Heading("Outside data"), Paragraph(words), *notes, *tables]


def _read(path: Path, classes: tuple[str, ...]) -> Labelled:
    try:
        table = pd.read_csv(path, dtype={"label": str, "patient_id": str}, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"--external {path}: cannot be read as CSV ({type(error).__name__}); "
            "with a table of `magsd predict` give its labels: --truth labels.csv"
        ) from error
    columns = [probability_column(name) for name in classes]
    missing = [name for name in ("label", *columns) if name not in table]
    if missing or not len(table):
        reason = f"column {', '.join(missing)} is missing" if missing else "has no rows"
        raise ArtifactError(f"--external {path}: {reason}; needed are label, {', '.join(columns)}")
    number = {name: k for k, name in enumerate(classes)}
    labels = [number.get(str(label), -1) for label in table["label"]]
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    good = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1)
    good &= np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE
    for row, (label, fine) in enumerate(zip(labels, good, strict=True), start=2):
        if label < 0:
            raise ArtifactError(f"--external {path}: row {row}: its label is none of {', '.join(classes)}")
        if not fine:
            raise ArtifactError(
                f"--external {path}: row {row}: its probabilities do not sum to 1; mend the row"
            )
    patients = table["patient_id"].fillna("") if "patient_id" in table else pd.Series([""] * len(table))
    return Labelled(np.asarray(labels, np.int64), values, [str(patient) for patient in patients])
