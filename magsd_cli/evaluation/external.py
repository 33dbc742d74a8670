"""A prediction table and the true labels beside it: which rows can be scored, and which cannot and why."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magsd_cli.artifacts.sealed.parts import read_predictions
from magsd_cli.artifacts.tables import (
    IN_TRAINING_DATA,
    SUM_TOLERANCE,
    class_probabilities,
    probability_column,
    table_metadata,
)
from magsd_cli.data.layouts.listing import class_name
from magsd_cli.data.layouts.table import strict_rows
from magsd_cli.data.unicode_forms import same_path
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.metrics.predictions import Predictions

COLUMNS = ("path", "label")
REFIT_NOTE = "These are answers of the refit network, which no other figure of this report is about."


@dataclass(frozen=True)
class ExternalPredictions:
    """Predictions on outside images, of no fold; which file they are from, and what was left out of it.

    `by_this_run`: whether the file says so itself.
    """

    path: Path
    predictions: Predictions
    by_this_run: bool
    notes: tuple[str, ...] = ()


def read_external(
    path: Path, truth: Path | None, classes: tuple[str, ...], model_sha256: str
) -> ExternalPredictions:
    """Outside images: the table that predict made in `path`, a file or a folder of parts, with the CSV
    `truth`; or, without that, a CSV `path` alone, with the columns label, p_<class> of every class and, if
    known, patient_id.

    Raises `ArtifactError` for a file that cannot be read, a missing column, an unknown label or probabilities
    that are none, with the row's number, and for predictions of other networks than `model_sha256`.
    """
    if not path.exists():
        raise ArtifactError(f"--external {path}: not found; name the table of `magsd predict`, or a CSV")
    if truth is None:
        return _read_csv(path, classes)
    return _read_labelled(path, truth, classes, model_sha256)


def _read_labelled(
    predictions: Path, truth: Path, classes: tuple[str, ...], model_sha256: str
) -> ExternalPredictions:
    """Join the table of `magsd predict` with a CSV of path, label and, if known, patient_id.

    A path may be an end of the one in the table. One that fits no row or several is refused.
    """
    table = read_predictions(predictions)
    about = table_metadata(table)
    refit = about.get("fold_networks_sha256")  # in a table of the run's refit network
    if (refit or about.get("model_sha256")) != model_sha256:
        raise ArtifactError(
            f"{predictions}: was predicted by networks other than this run's; predict again with --model RUN"
        )
    if about.get("classes") != list(classes):
        raise ArtifactError(f"{predictions}: has other classes than the run; predict again")
    rows = table.select(["path", "status", "warnings", "refer"]).to_pylist()
    labels = _labels(truth, [row["path"] for row in rows], classes)
    kept = [i for i, row in enumerate(rows) if i in labels and _usable(row)]
    if not kept:
        raise ArtifactError(
            f"{truth}: none of its images is both in the table and new to the model; nothing to score"
        )
    found = Predictions(
        tuple(rows[i]["path"] for i in kept),
        np.array([labels[i][0] for i in kept], np.int64),
        class_probabilities(table, classes).astype(np.float64)[kept],
        None,
        tuple(labels[i][1] for i in kept),
        classes,
    )
    notes = _notes(rows, labels, kept)
    return ExternalPredictions(predictions, found, True, (*([REFIT_NOTE] if refit else []), *notes))


def _usable(row: dict[str, Any]) -> bool:
    return row["status"] == "ok" and IN_TRAINING_DATA not in (row["warnings"] or ())


def _labels(truth: Path, paths: list[str], classes: tuple[str, ...]) -> dict[int, tuple[int, str]]:
    """Class number and patient by row of the prediction table."""
    by_name: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        by_name[same_path(Path(path).name)].append(i)
    found: dict[int, tuple[int, str]] = {}
    try:
        for number, row in strict_rows(truth, COLUMNS):
            path, label = same_path(row["path"]), class_name(row["label"])
            fits = [i for i in by_name[Path(path).name] if same_path(f"/{paths[i]}").endswith(f"/{path}")]
            if label not in classes:
                raise ArtifactError(f"{truth}: row {number}: its label is none of {', '.join(classes)}")
            if len(fits) != 1 or fits[0] in found:
                reason = "matches several images of the table" if fits else "is not an image of the table"
                raise ArtifactError(f"{truth}: row {number}: {row['path']!r} {reason}; fix the row")
            found[fits[0]] = (classes.index(label), row.get("patient_id", ""))
    except UsageError as error:
        raise ArtifactError(str(error)) from error
    return found


def _notes(rows: list[dict[str, Any]], labels: dict[int, Any], kept: list[int]) -> tuple[str, ...]:
    seen = sum(IN_TRAINING_DATA in (rows[i]["warnings"] or ()) for i in labels)
    counts = {
        "images of the table have no label and are left out": len(rows) - len(labels),
        "labelled images could not be read": sum(rows[i]["status"] != "ok" for i in labels),
        "labelled images are training data of this model and are left out": seen,
        "of the scored images were referred to a reader by predict; they count here": sum(
            bool(rows[i]["refer"]) for i in kept
        ),
    }
    return tuple(f"{count} {words}." for words, count in counts.items() if count)


def _read_csv(path: Path, classes: tuple[str, ...]) -> ExternalPredictions:
    """Predictions with their labels from one CSV; an image's id is its row."""
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
                f"--external {path}: row {row}: its probabilities do not sum to 1; fix the row"
            )
    patients = table["patient_id"].fillna("") if "patient_id" in table else pd.Series([""] * len(table))
    found = Predictions(
        tuple(f"row {row + 2}" for row in range(len(table))),
        np.asarray(labels, np.int64),
        values,
        None,
        tuple(str(patient) for patient in patients),
        classes,
    )
    return ExternalPredictions(path, found, False)
