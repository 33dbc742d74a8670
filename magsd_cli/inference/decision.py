"""The networks' answers about one image become probabilities, a decision and a referral.

The temperature is applied to each network before they are averaged: it was fitted on single networks, each on
images that it never saw. No image is unseen by several networks, so the mean cannot have one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.tables import probability_column
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.model import Model
from magsd_cli.inference.out_of_distribution import TrainingDistribution, appearance_from_values
from magsd_cli.metrics.calibration import apply_temperature
from magsd_cli.settings import Network

Floats = npt.NDArray[np.floating]
UNLIKE, DISAGREE, UNSURE = "unlike_training_images", "folds_disagree", "low_confidence"
FEWEST_VOTERS = 3  # two networks that differ are a tie, and a tie is no finding


@dataclass(frozen=True)
class DecisionRules:
    """The rules of a decision. None leaves a rule out; without a `temperature` probabilities stay
    uncalibrated.
    """

    classes: tuple[str, ...]
    temperature: float | None = None
    raw: bool = False
    positive: str | None = None
    threshold: float = 0.0
    least_confidence: float = 0.0
    limit: float | None = None


def rules_of(model: Model, raw: bool = False) -> DecisionRules:
    """The rules that are stored with `model`; with `raw` the columns of probabilities stay uncalibrated.

    Raises `ArtifactError` where they do not fit its classes.
    """
    point = model.operating
    if point is None:
        return DecisionRules(model.classes)
    rules = DecisionRules(
        model.classes,
        point.temperature.value,
        raw,
        point.decision.positive if point.decision else None,
        point.decision.threshold if point.decision else 0.0,
        point.confidence.least if point.confidence else 0.0,
        point.appearance.limit if point.appearance else None,
    )
    if rules.positive is not None and rules.positive not in rules.classes:
        raise ArtifactError(f"{model.name}: {_BROKEN} (class {rules.positive}); {_AGAIN}")
    return rules


_BROKEN, _AGAIN = "its operating point does not fit", "run `magsd calibrate` again"


def appearance_of(model: Model) -> TrainingDistribution | None:
    """Return how the training images of `model` look, where that is stored. Raises `ArtifactError`."""
    stored = model.operating.appearance if model.operating else None
    try:
        return None if stored is None else appearance_from_values(stored.plane.model_dump())
    except ValueError as error:
        raise ArtifactError(f"{model.name}: {_BROKEN} ({error}); {_AGAIN}") from error


def mean_probabilities(members: Floats, temperature: float | None) -> npt.NDArray[np.float32]:
    """The mean over M networks [M,K] of their probabilities at `temperature` (None: as they are), [K]."""
    # In float64 the mean of five rows still sums to 1 within one float32 rounding.
    scores = members.astype(np.float64) if temperature is None else apply_temperature(members, temperature)
    result: npt.NDArray[np.float32] = scores.mean(axis=0).astype(np.float32)
    return result


def decide(members: Floats, distance: float | None, rules: DecisionRules) -> dict[str, Any]:
    """The columns from `predicted` on for one image.

    members: the probabilities of each network [M,K]; distance: of the picture, None where unknown. The
    decision and the referral always rest on the calibrated probabilities.
    """
    calibrated = mean_probabilities(members, rules.temperature)
    shown = mean_probabilities(members, None) if rules.raw else calibrated
    reasons = _reasons(members, calibrated, distance, rules)
    known = rules.limit is not None and distance is not None
    return {
        "predicted": rules.classes[int(shown.argmax())],
        **{probability_column(name): float(p) for name, p in zip(rules.classes, shown, strict=True)},
        "confidence": float(shown.max()),
        "decision": _decision(calibrated, rules),
        "refer": True if reasons else False if known else None,
        "refer_reason": ", ".join(reasons) or None,
    }


def _reasons(members: Floats, calibrated: Floats, distance: float | None, rules: DecisionRules) -> list[str]:
    reasons = []
    if rules.limit is not None and distance is not None and distance > rules.limit:
        reasons.append(UNLIKE)
    votes = np.bincount(members.argmax(axis=1), minlength=members.shape[1])
    if len(members) >= FEWEST_VOTERS and 2 * votes.max() <= len(members):
        reasons.append(DISAGREE)
    if float(calibrated.max()) < rules.least_confidence:
        reasons.append(UNSURE)
    return reasons


def _decision(calibrated: Floats, rules: DecisionRules) -> str | None:
    if rules.positive is None:
        return None
    found = float(calibrated[rules.classes.index(rules.positive)]) >= rules.threshold
    return rules.positive if found else f"not {rules.positive}"


def in_metadata(model: Model, rules: DecisionRules) -> dict[str, Any]:
    """Return the metadata of a prediction table: how its rows were made."""
    point = model.operating
    decided = point.decision if point else None
    return {
        "temperature": None if rules.raw else rules.temperature,
        "operating_sha256": point.sha256() if point else "",
        "decision": decided.model_dump(mode="json", include=_OF_A_DECISION) if decided else None,
        "refers": {
            UNLIKE: rules.limit,
            # One network on all images has nobody to disagree with.
            DISAGREE: None if model.network == Network.refit else _DISAGREED,
            UNSURE: rules.least_confidence or None,
        },
    }


_DISAGREED = "no class has more than half of the networks' votes"
_OF_A_DECISION = {"positive", "rate", "value", "threshold", "cross_fitted"}
