"""The answer for a study from the answers for its frontal images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from magsd_cli.artifacts.tables import probability_column
from magsd_cli.inference.decision import DecisionRules

HIGHEST, MEAN = "highest", "mean"


@dataclass(frozen=True)
class StudyAnswer:
    """The answer about a study. `rule`: how it follows from the images.

    "highest <class>" where the model has an operating point: the answer of the image with the highest
    probability of that class, so that a study is positive as soon as one image is. "mean" elsewhere: the mean
    of the images' probabilities. `probabilities` are in the order of the model's classes.
    """

    images: int
    rule: str
    predicted: str
    probabilities: dict[str, float] = field(repr=False)
    decision: str | None = None
    refer: bool | None = None
    refer_reason: str | None = None

    @property
    def confidence(self) -> float:
        """The probability of the class that is predicted."""
        return self.probabilities[self.predicted]

    def columns(self) -> dict[str, Any]:
        """The columns of the studies table from `images` on."""
        return {
            "images": self.images,
            "rule": self.rule,
            "predicted": self.predicted,
            **{probability_column(name): p for name, p in self.probabilities.items()},
            "confidence": self.confidence,
            "decision": self.decision,
            "refer": self.refer,
            "refer_reason": self.refer_reason,
        }


def study_answer(rows: Sequence[Mapping[str, Any]], rules: DecisionRules) -> StudyAnswer | None:
    """The answer for a study of these rows of a prediction table; None where no row is ok.

    A study is referred where an image is, for all reasons that its images have.
    """
    usable = [row for row in rows if row["status"] == "ok"]
    if not usable:
        return None
    columns = [probability_column(name) for name in rules.classes]
    values = np.array([[row[name] for name in columns] for row in usable], np.float64)  # [N,K]
    if rules.positive is not None:
        chosen = values[int(values[:, rules.classes.index(rules.positive)].argmax())]
        rule = f"{HIGHEST} {rules.positive}"
    else:
        chosen, rule = values.mean(axis=0), MEAN
    probabilities = chosen.astype(np.float32)
    return StudyAnswer(
        images=len(usable),
        rule=rule,
        predicted=rules.classes[int(probabilities.argmax())],
        probabilities=dict(zip(rules.classes, map(float, probabilities), strict=True)),
        decision=_decision(usable, rules),
        refer=_refer(usable),
        refer_reason=_reasons(usable),
    )


def _decision(rows: Sequence[Mapping[str, Any]], rules: DecisionRules) -> str | None:
    """Positive where an image is: decisions rest on calibrated probabilities, whatever the table shows."""
    if rules.positive is None:
        return None
    found = any(row["decision"] == rules.positive for row in rows)
    return rules.positive if found else f"not {rules.positive}"


def _refer(rows: Sequence[Mapping[str, Any]]) -> bool | None:
    found = {row["refer"] for row in rows}
    return True if True in found else None if None in found else False


def _reasons(rows: Sequence[Mapping[str, Any]]) -> str | None:
    reasons = [reason for row in rows if row["refer_reason"] for reason in row["refer_reason"].split(", ")]
    return ", ".join(dict.fromkeys(reasons)) or None
