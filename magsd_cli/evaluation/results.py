"""The artifacts of a run, read and checked against each other, with a reason for each that is missing.

An artifact that is absent is a gap that a report states; one that is damaged, or belongs to something else,
is refused: figures must not rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magsd_cli.artifacts.cache import Cache, open_cache, read_samples, samples_path
from magsd_cli.artifacts.files import check_hash, read_json
from magsd_cli.artifacts.model_file import model_file_path
from magsd_cli.artifacts.operating_point import OperatingPoint, read_operating_point
from magsd_cli.artifacts.runs import (
    AGAIN,
    Run,
    folds_path,
    history_path,
    metrics_path,
    open_run,
    predictions_path,
    provenance_path,
    recorded_sha256,
    refit_path,
    weights_path,
)
from magsd_cli.artifacts.tables import (
    OUT_OF_FOLD,
    probability_column,
    read_parquet,
    read_table,
    table_metadata,
)
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.cross_validation import FoldMetrics, RunMetrics, cross_validated
from magsd_cli.metrics.predictions import Predictions

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Results:
    """A run's artifacts, each None (or empty) where it is missing; `missing` says why.

    predictions: out of fold, in the order of the table; tested: the sample of each of them. weights: whether
    every fold's are there. refit_images: what the refit network was trained on, where there is one.
    """

    run: Run
    metrics: RunMetrics | None
    predictions: Predictions | None
    histories: dict[int, dict[str, list[float]]] = field(repr=False)
    samples: pd.DataFrame | None = field(repr=False)
    cache: Path | None
    provenance: dict[str, Any] | None
    hashes: dict[str, str]
    missing: dict[str, str]
    tested: pd.DataFrame | None = field(default=None, repr=False)
    weights: bool = False
    model_file: Path | None = None
    refit_images: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Count the tested images of each class."""
        return {row["class"]: row["n"] for row in self.metrics["pooled"]["per_class"]} if self.metrics else {}


def read_results(path: Path) -> Results:
    """Read and check what the run in folder `path` left.

    Raises `ArtifactError` when it is not a run or not finished, or an artifact is damaged or does not fit.
    """
    run = open_run(path)
    missing: dict[str, str] = {}
    metrics = _read_metrics(run, missing)
    table, model = _read_table(run, missing)
    if metrics is None and table is None:
        raise ArtifactError(f"{path}: has no results; finish it with `magsd {run.kind} --resume {path}`")
    if metrics is not None and table is not None:
        _check_metrics(run, metrics, table)
    cache, samples = _read_samples(run, missing)
    predictions = None if table is None else out_of_fold_predictions(table, run.classes)
    tested = None
    if predictions is not None and samples is not None:
        tested = samples.set_index("image_id").reindex(list(predictions.image_ids))
    model_file = model_file_path(run.path)
    return Results(
        run=run,
        metrics=metrics,
        predictions=predictions,
        histories=_read_histories(run),
        samples=samples,
        cache=cache,
        provenance=_read_provenance(run),
        hashes=_hashes(run, model),
        missing=missing,
        tested=tested,
        weights=all(weights_path(run.path, fold).exists() for fold in run.trained),
        model_file=model_file if model_file.exists() else None,
        refit_images=_read_refit(run),
    )


def _read_metrics(run: Run, missing: dict[str, str]) -> RunMetrics | None:
    path = metrics_path(run.path)
    if not path.exists():
        missing["metrics"] = "metrics.json is missing"
        return None
    check_hash(path)
    metrics: RunMetrics = read_json(path)
    if metrics.get("classes") != list(run.classes):
        raise ArtifactError(f"{path}: has other classes than the run; {AGAIN}")
    return metrics


def _read_refit(run: Run) -> int | None:
    """Return the number of images the run's refit network was trained on; None where it has none."""
    path = refit_path(run.path)
    if not path.exists():
        return None
    check_hash(path)
    return int(read_json(path)["trained_on_images"])


def out_of_fold_predictions(table: pd.DataFrame, classes: tuple[str, ...]) -> Predictions:
    """The predictions of an out-of-fold table, in its order."""
    number = {name: k for k, name in enumerate(classes)}
    return Predictions(
        image_ids=tuple(table["image_id"]),
        truth=np.array([number[label] for label in table["label"]], np.int64),
        probabilities=table[[probability_column(name) for name in classes]].to_numpy(np.float64),
        folds=table["fold"].to_numpy(np.int64),
        patients=tuple(table["patient_id"]),
        classes=classes,
    )


def _read_table(run: Run, missing: dict[str, str]) -> tuple[pd.DataFrame | None, str]:
    """The out-of-fold table, and the hash of the networks that made it."""
    path = predictions_path(run.path)
    if not path.exists():
        missing["predictions"] = "predictions.parquet is missing"
        return None, ""
    table = read_table(path, OUT_OF_FOLD)
    about = table_metadata(table)
    expected = {
        "classes": list(run.classes),
        "recipe_sha256": run.recipe.hash(),
        "cache_sha256": run.cache_digest,
    }
    for key, value in expected.items():
        if about.get(key) != value:
            raise ArtifactError(f"{path}: its {key} differs from the run's; {AGAIN}")
    if recorded_sha256(run) not in (None, about["model_sha256"]):
        raise ArtifactError(f"{path}: belongs to networks other than the run's weights; {AGAIN}")
    frame: pd.DataFrame = table.to_pandas()
    if folds_path(run.path).exists():
        _check_folds(path, frame, run.folds(), run.trained)
    return frame, str(about["model_sha256"])


def _check_folds(path: Path, table: pd.DataFrame, folds: pd.DataFrame, trained: tuple[int, ...]) -> None:
    """Every image of the trained folds was tested once, in its own fold, under its own label."""
    keys = ["image_id", "label", "fold"]
    expected = folds[folds["fold"].isin(trained)][keys].sort_values("image_id").reset_index(drop=True)
    actual = table[keys].sort_values("image_id").reset_index(drop=True)
    if expected.astype(str).values.tolist() != actual.astype(str).values.tolist():
        raise ArtifactError(f"{path}: its images, labels or folds differ from folds.parquet; {AGAIN}")


def _check_metrics(run: Run, metrics: RunMetrics, table: pd.DataFrame) -> None:
    """metrics.json must follow from predictions.parquet."""
    fresh = cross_validated(table, run.classes)
    if metrics["pooled"]["confusion"] != fresh["pooled"]["confusion"] or not all(
        _same(stored.get(name), value)
        for stored, found in zip(_parts(metrics), _parts(fresh), strict=True)
        for name, value in found.items()
        if isinstance(value, float)
    ):
        raise ArtifactError(f"{metrics_path(run.path)}: does not match predictions.parquet; {AGAIN}")


def _parts(metrics: FoldMetrics) -> tuple[Mapping[str, Any], ...]:
    return metrics["mean"], metrics["std"], metrics["pooled"]


def _same(one: float | None, other: float) -> bool:
    return one is not None and abs(one - other) < TOLERANCE


def _read_histories(run: Run) -> dict[int, dict[str, list[float]]]:
    paths = {fold: history_path(run.path, fold) for fold in run.trained}
    tables = {fold: read_parquet(path, AGAIN) for fold, path in paths.items() if path.exists()}
    return {
        fold: {name: table[name].tolist() for name in ("loss", "train_share_correct", "seconds")}
        for fold, table in tables.items()
    }


def _read_samples(run: Run, missing: dict[str, str]) -> tuple[Path | None, pd.DataFrame | None]:
    """The cache's path, where it was or beside the run, and its samples table."""
    beside = run.path.parent / "cache" / run.cache_path.name
    cache = next((path for path in (run.cache_path, beside) if path.exists()), None)
    if cache is None:
        missing["cache"] = f"the cache {run.cache_path.name} is missing"
    table = samples_path(cache or run.cache_path)
    if not table.exists() and samples_path(beside).exists():
        table = samples_path(beside)
    if not table.exists():
        missing["samples"] = f"{table.name}, the samples table of the cache, is missing"
        return cache, None
    return cache, read_samples(table.with_name(table.name.removesuffix(".samples.parquet") + ".h5"))


def read_cache(results: Results) -> Cache | None:
    """The cache of a run, read into memory; None where it is missing. Raises `ArtifactError`."""
    if results.cache is None:
        return None
    cache = open_cache(results.cache)
    if cache.digest != results.run.cache_digest:
        raise ArtifactError(f"{results.cache}: is not the run's cache; {AGAIN}")
    return cache


def _read_provenance(run: Run) -> dict[str, Any] | None:
    path = provenance_path(run.path)
    if not path.exists():
        return None
    check_hash(path)
    provenance: dict[str, Any] = read_json(path)
    return provenance


def _hashes(run: Run, model: str) -> dict[str, str]:
    found = {"images and labels (cache digest)": run.cache_digest, "recipe": run.recipe.hash()}
    if model:
        found["networks that predicted"] = model
    for path in (folds_path(run.path), predictions_path(run.path), metrics_path(run.path)):
        if path.exists():
            found[path.name] = check_hash(path)
    return found


def stored_operating(results: Results) -> OperatingPoint | None:
    """The run's operating point, None where it is missing. Raises `ArtifactError` where it does not fit."""
    model = results.hashes.get("networks that predicted")
    return None if model is None else read_operating_point(results.run.path, model)
