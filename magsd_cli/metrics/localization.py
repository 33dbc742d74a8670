"""How good a localization is, and whether it is better than chance.

Chance is not zero: a blob in the middle of a chest overlaps many findings. The control is therefore the
attention that the same networks gave to other images, put on this one: it has the same shapes and the same
liking for the middle, and knows nothing about this image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHARES = (0.25, 0.5)  # the paper speaks of IoU over 0.25
RESAMPLES = 2000


def summarise(found: Sequence[float], control: Sequence[float | None], seed: int = 0) -> dict[str, Any]:
    """Figures of one measure over n images: its mean with a 95% interval, median, shares over `SHARES`.

    found: the measure of each image, in 0..1; control: its mean under the control, None without one. Adds the
    control's mean and the paired difference with its interval. The intervals are percentiles of `RESAMPLES`
    bootstrap resamples of the images; they are None for fewer than two.
    """
    values = np.asarray(found, np.float64)
    if not len(values):
        return {"n": 0}
    rng = np.random.default_rng(seed)
    figures: dict[str, Any] = {
        "n": len(values),
        "mean": float(values.mean()),
        "interval95": interval(values, rng),
        "median": float(np.median(values)),
        **{f"over_{share:g}": float((values >= share).mean()) for share in SHARES},
    }
    if any(value is None for value in control):
        return figures
    chance = np.asarray(control, np.float64)
    figures["control"] = float(chance.mean())
    figures["over_control"] = float((values - chance).mean())
    figures["over_control_interval95"] = interval(values - chance, rng)
    return figures


def interval(values: Floats, rng: np.random.Generator) -> list[float] | None:
    """The 95% bootstrap interval [low, high] of the mean of `values` [N]; None for fewer than two."""
    if len(values) < 2:
        return None
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return [float(low), float(high)]
