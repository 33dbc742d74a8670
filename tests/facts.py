"""What a report knows of a run that never was; each test names what it needs to be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magsd_cli.artifacts.runs import Run
from magsd_cli.evaluation.facts import Facts
from magsd_cli.evaluation.results import Results
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.recipe import Recipe
from magsd_cli.settings import Preprocessing


def some_predictions(
    truth: Any, probabilities: Any, classes: Any, folds: Any = None, patients: Any = ()
) -> Predictions:
    """Predictions on images without an id; their patients are unknown unless they are named."""
    unknown = ("",) * len(truth)
    return Predictions(unknown, truth, probabilities, folds, tuple(patients) or unknown, tuple(classes))


def some_facts(predictions: Predictions | None = None, **changes: Any) -> Facts:
    """Facts of a run of two folds; `changes` are fields of `Facts`, of its results and of its run."""
    classes = predictions.classes if predictions else ("a", "b")
    run: dict[str, Any] = {
        "path": Path("run"), "kind": "cv", "recipe": Recipe(), "classes": classes, "cache_path": Path("c.h5"),
        "cache_digest": "", "preprocessing": Preprocessing(64), "fold_count": 2,
        "trained": (0, 1), "threads": 1,
    }  # fmt: skip
    results: dict[str, Any] = {
        "metrics": {}, "predictions": predictions, "histories": {}, "samples": None, "cache": None,
        "provenance": None, "hashes": {}, "missing": {},
    }  # fmt: skip
    for known in (run, results):
        fields = Run if known is run else Results
        known |= {name: changes.pop(name) for name in list(changes) if name in fields.__dataclass_fields__}
    return Facts(Results(run=Run(**run), **results), predictions=predictions, **changes)
