"""Decision curves: what acting on a probability is worth, against acting on all and on none.

Vickers and Elkin, Decision curve analysis: a novel method for evaluating prediction models. Medical Decision
Making 26(6):565-574, 2006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.curves import DRAWS
from magsd_cli.metrics.intervals import LEVEL, Integers, weight_chunks

Floats = npt.NDArray[np.float64]
THRESHOLDS: Floats = np.arange(1, 100) / 100


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each of `THRESHOLDS` [T], an image; `low` and `high` bound `model`.

    share: how common the class is, in 0..1. everyone: of calling every image positive (calling none is 0).
    gain_low: the lower bound of what `model` has above the better of those two.
    """

    share: float
    model: Floats = field(repr=False)
    low: Floats = field(repr=False)
    high: Floats = field(repr=False)
    everyone: Floats = field(repr=False)
    gain_low: Floats = field(repr=False)


def decision_curve(
    positive: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> DecisionCurve:
    """The decision curve of images that are `positive` bool [N], with 95% bounds over patients.

    probabilities: of being positive, [N]; an image is called where it reaches the threshold t. Net benefit is
    TP/N - FP/N t/(1-t): found images less false calls, weighted by the odds at which t sets one against the
    other. groups: the patient of each image, as `intervals.patient_weights`; N is at least 1.
    """
    truth = np.asarray(positive, bool)
    calls = np.asarray(probabilities, np.float64)[:, None] >= THRESHOLDS
    odds = THRESHOLDS / (1 - THRESHOLDS)
    worth = np.where(truth[:, None], 1.0, -odds)  # of calling an image, [N,T]
    called = worth * calls

    def both(weights: Integers) -> tuple[Floats, Floats]:
        drawn = weights.astype(np.float64)
        total = drawn.sum(axis=1, keepdims=True)
        return drawn @ called / total, drawn @ worth / total

    models, gains = [], []
    for weights in weight_chunks(groups, draws, rng):
        model, everyone = both(weights)
        models.append(model)
        gains.append(model - np.maximum(everyone, 0))
    low, high = np.quantile(np.concatenate(models), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    gain_low = np.quantile(np.concatenate(gains), (1 - LEVEL) / 2, axis=0)
    model, everyone = both(np.ones((1, len(truth)), np.int64))
    return DecisionCurve(float(truth.mean()), model[0], low, high, everyone[0], gain_low)


def better_ranges(curve: DecisionCurve) -> list[tuple[float, float]]:
    """The runs of neighbouring thresholds at which `gain_low` is above 0, as (first, last)."""
    better = np.concatenate([[False], curve.gain_low > 0, [False]]).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(better) == 1), np.flatnonzero(np.diff(better) == -1)
    return [(float(THRESHOLDS[a]), float(THRESHOLDS[b - 1])) for a, b in zip(starts, ends, strict=True)]
