"""The predictions of the folds become the run's table and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import pandas as pd

from magsd_cli.artifacts.files import hashed_path
from magsd_cli.artifacts.runs import (
    AGAIN,
    Run,
    fold_predictions_path,
    metrics_path,
    model_sha256,
    predictions_path,
    write_json_hashed,
)
from magsd_cli.artifacts.tables import OUT_OF_FOLD, probability_column, read_parquet, table_bytes
from magsd_cli.metrics.intervals import DRAWS, LEVEL, rate_intervals
from magsd_cli.metrics.rates import METRICS, summary

Rates = dict[str, Any]  #: as `metrics.rates.summary` gives them


class FoldMetrics(TypedDict):
    """The metrics that follow from an out-of-fold table alone; None where one is undefined."""

    classes: list[str]
    folds: list[Rates]
    mean: dict[str, float | None]
    std: dict[str, float | None]
    std_divisor: str
    pooled: Rates
    undefined: dict[str, str]


class RunMetrics(FoldMetrics):
    """The content of ``metrics.json``."""

    pooled_intervals: dict[str, Any]
    kind: str
    patients_known: bool


def score(run: Run) -> RunMetrics:
    """Join the folds' predictions into the out-of-fold table, and write it and the metrics. Returns these.

    Raises `ArtifactError` when a fold's predictions or weights are damaged, or an image was tested twice.
    """
    table = pd.concat(
        [read_parquet(fold_predictions_path(run.path, fold), AGAIN) for fold in run.trained],
        ignore_index=True,
    )
    metadata = {
        "classes": list(run.classes),
        "model_sha256": model_sha256(run),
        "recipe": run.recipe.model_dump(mode="json"),
        "recipe_sha256": run.recipe.hash(),
        "cache_sha256": run.cache_digest,
    }
    with hashed_path(predictions_path(run.path)) as temporary:
        temporary.write_bytes(table_bytes(table, OUT_OF_FOLD, metadata))
    metrics: RunMetrics = {
        **cross_validated(table, run.classes, run.held_out),
        "pooled_intervals": pooled_intervals(table, run.classes),
        "kind": run.kind,
        "patients_known": run.patients_known,
    }
    write_json_hashed(metrics_path(run.path), metrics)
    return metrics


def cross_validated(
    table: pd.DataFrame, classes: tuple[str, ...], held_out: tuple[str, ...] = ()
) -> FoldMetrics:
    """Metrics of an out-of-fold table: `folds` (a list), their `mean` and `std`, and `pooled` over all.

    `std` is the sample standard deviation over the folds (divisor: folds - 1), None for fewer than two. A
    fold in which a metric is undefined is left out of its mean and std; `undefined` names it and says why.
    `held_out` are the sources that the folds are, where they are sources.
    """
    names = [{"held_out": name} for name in held_out] or [{}] * (int(table["fold"].max()) + 1)
    folds = [
        {"fold": int(fold), **names[fold], **_summary(table[table["fold"] == fold], classes)}
        for fold in sorted(table["fold"].unique())
    ]
    mean, deviation = over_folds(folds)
    undefined = {
        f"fold {row['fold']} {metric}": reason for row in folds for metric, reason in row["undefined"].items()
    }
    return {
        "classes": list(classes),
        "folds": folds,
        "mean": mean,
        "std": deviation,
        "std_divisor": "folds - 1",
        "pooled": _summary(table, classes),
        "undefined": undefined,
    }


def over_folds(folds: Sequence[Rates]) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Mean and sample standard deviation of each metric over the folds in which it is defined."""
    mean: dict[str, float | None] = {}
    deviation: dict[str, float | None] = {}
    for metric in METRICS:
        values = [row[metric] for row in folds if row[metric] is not None]
        mean[metric] = float(np.mean(values)) if values else None
        deviation[metric] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return mean, deviation


def pooled_intervals(table: pd.DataFrame, classes: tuple[str, ...], seed: int = 0) -> dict[str, Any]:
    """95% intervals of the pooled metrics, [low, high] each, by the bootstrap over patients (20,000 samples).

    `per_class` has those of each class. None where a metric is undefined in most samples.
    """
    truth, probabilities = _arrays(table, classes)
    found = rate_intervals(truth, probabilities, list(table["patient_id"]), np.random.default_rng(seed))
    bounds = {name: None if low is None else [low, high] for name, (low, high) in found.items()}
    per_class = [
        {"class": name, **{metric: bounds[f"{metric}.{k}"] for metric in METRICS if metric != "accuracy"}}
        for k, name in enumerate(classes)
    ]
    how = {"level": LEVEL, "draws": DRAWS, "seed": seed, "over": "patients"}
    return {**{metric: bounds[metric] for metric in METRICS}, "per_class": per_class, **how}


def _summary(table: pd.DataFrame, classes: tuple[str, ...]) -> Rates:
    return summary(*_arrays(table, classes), classes)


def _arrays(table: pd.DataFrame, classes: tuple[str, ...]) -> tuple[Any, Any]:
    number = {name: k for k, name in enumerate(classes)}
    probabilities = table[[probability_column(name) for name in classes]].to_numpy()
    return table["label"].map(number).to_numpy(), probabilities


def in_words(metrics: FoldMetrics) -> str:
    """The headline of a run's metrics, in percent: mean over the folds with its standard deviation."""
    parts = []
    for metric in ("accuracy", "sensitivity", "specificity", "f1", "auc"):
        mean, deviation = metrics["mean"][metric], metrics["std"][metric]
        if mean is None:
            parts.append(f"{metric} undefined")
        else:
            parts.append(
                f"{metric} {100 * mean:.2f}" + ("" if deviation is None else f" +- {100 * deviation:.2f}")
            )
    return ", ".join(parts)
