"""A row of a prediction table, from the answer for a file."""

from __future__ import annotations

from collections.abc import Mapping

from magsd_cli.artifacts.tables import IN_TRAINING_DATA, path_text
from magsd_cli.inference.decision import DecisionRules, decide
from magsd_cli.inference.model import Model
from magsd_cli.inference.resume import Row
from magsd_cli.inference.scoring import FileAnswer


def prediction_row(
    answer: FileAnswer, model: Model, rules: DecisionRules, trained_on: Mapping[str, int]
) -> Row:
    """The table's row for one answer; nulls where there is no result.

    trained_on: content hashes of the images that the model was trained on.
    """
    warnings = list(answer.warnings)
    if answer.sha256 in trained_on:
        warnings.append(IN_TRAINING_DATA)
    ok = answer.members is not None
    decided = {} if answer.members is None else decide(answer.members, answer.distance, rules)
    return {
        "path": path_text(answer.path),
        "sha256": answer.sha256 or None,
        "status": "ok" if ok else "error",
        "error_code": answer.error_code or None,
        "error": answer.error or None,
        "warnings": warnings,
        "model_sha256": model.sha256,
        **decided,
    }
