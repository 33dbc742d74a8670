"""Predictions on another hospital's images, for the report: a CSV with the true labels beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.tables import SUM_TOLERANCE, probability_column
from magsd_cli.errors import UsageError
from magsd_cli.metrics.rates import summary
from magsd_cli.reporting.decided import frozen_threshold_table
from magsd_cli.reporting.document import Block, Heading, Paragraph, Table
from magsd_cli.reporting.performance import class_table, overall_table


def external_section(
    path: Path, classes: tuple[str, ...], decision: Mapping[str, Any] | None = None
) -> list[Block]:
    """Score the CSV `path`: columns label, p_<class> of every class, and, if known, patient_id.

    `decision`: the stored operating point, whose threshold is tried as it is.

    Raises `UsageError` for a file that cannot be read, a missing column, an unknown label or probabilities
    that are none, with the row's number.
    """
    truth, probabilities, patients = _read(path, classes)
    pooled = summary(truth, probabilities, classes)
    overall, intervals = overall_table(pooled, truth, probabilities, patients)
    words = (
        f"{len(truth)} images from {path.name}, scored as they stand there. That they were predicted by this "
        "run, and are of patients that it has never seen, is the word of whoever made the file."
    )
    tables: list[Table] = [overall, class_table(pooled, intervals)]
    if decision is not None:
        number = classes.index(decision["positive"])
        tables.append(frozen_threshold_table(decision, truth == number, probabilities[:, number], patients))
    return [Heading("Outside data"), Paragraph(words), *tables]


def _read(
    path: Path, classes: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], list[str]]:
    try:
        table = pd.read_csv(path, dtype={"label": str, "patient_id": str}, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"--external {path}: cannot be read as CSV ({type(error).__name__})") from error
    columns = [probability_column(name) for name in classes]
    missing = [name for name in ("label", *columns) if name not in table]
    if missing or not len(table):
        reason = f"column {', '.join(missing)} is missing" if missing else "has no rows"
        raise UsageError(f"--external {path}: {reason}; needed are label, {', '.join(columns)}")
    number = {name: k for k, name in enumerate(classes)}
    labels = [number.get(str(label), -1) for label in table["label"]]
    values = table[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    good = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1)
    good &= np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE
    for row, (label, fine) in enumerate(zip(labels, good, strict=True), start=2):
        if label < 0:
            raise UsageError(f"--external {path}: row {row}: its label is none of {', '.join(classes)}")
        if not fine:
            raise UsageError(f"--external {path}: row {row}: its probabilities do not sum to 1; mend the row")
    patients = table["patient_id"].fillna("") if "patient_id" in table else pd.Series([""] * len(table))
    return np.asarray(labels, np.int64), values, [str(patient) for patient in patients]
