"""95% intervals: Wilson's for one proportion, the bootstrap over patients for everything else.

A bootstrap sample is a row of weights: how often each image is in it. Weights [D, N] of D samples at once
make every rate a product of matrices, so that 20,000 samples take seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.rates import RATES, accuracy, class_counts
from magsd_cli.metrics.roc import auc_of_columns

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
LEVEL = 0.95
DRAWS = 20_000  # with 2,000 the smallest p that Holm's rule leaves of 21 comparisons is 0.021
CHUNK = 250_000  # weights held at a time: what stays in a processor's cache


class Interval(NamedTuple):
    """The lower and the upper bound; None where there is too little to say."""

    low: float | None
    high: float | None


UNKNOWN = Interval(None, None)


def normal_quantile(level: float) -> float:
    """The z that leaves (1 - level) / 2 in each tail of the normal distribution: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: int, total: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion: the shares p with |x/n - p| <= z sqrt(p (1 - p) / n).

    successes: 0..total, of independent trials. Honest for small n and at 0 and 1, where the textbook's
    interval has no width. Unknown for total 0. Wilson, J. Am. Stat. Assoc. 22 (1927).
    """
    if total == 0:
        return UNKNOWN
    z = normal_quantile(level)
    share = successes / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    # Rounding must not push the bounds past the share itself at 0 and 1.
    return Interval(min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def patient_weights(groups: Sequence[str], draws: int, rng: np.random.Generator) -> Integers:
    """Bootstrap samples of whole patients, as weights int64 [D, N]: how often each image is in each sample.

    groups: the patient of each image [N]; an image with the empty name is a patient of its own. As many
    patients as there are come with replacement, each with all its images: images of one patient resemble
    each other, and drawing images one by one would make every interval too narrow.
    """
    numbers: dict[str | int, int] = {}
    place = np.array([numbers.setdefault(name or i, len(numbers)) for i, name in enumerate(groups)], np.int64)
    count = len(numbers)
    if count == 0:
        return np.zeros((draws, 0), np.int64)
    drawn = rng.integers(count, size=(draws, count)) + count * np.arange(draws)[:, None]
    times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
    return times[:, place]


def rate_draws(truth: npt.ArrayLike, probabilities: npt.ArrayLike, weights: Integers) -> dict[str, Floats]:
    """Every metric of `rates.summary` for each bootstrap sample: name -> [D], NaN where undefined.

    truth: class numbers [N]; probabilities: [N, K]; weights: [D, N]. `<metric>` is the macro mean,
    `<metric>.<k>` that of class number k.
    """
    labels, scores = np.asarray(truth, np.int64), np.asarray(probabilities, np.float64)
    classes = scores.shape[1]
    columns = np.ascontiguousarray(weights.T, np.float64)
    cells = np.eye(classes**2)[labels * classes + scores.argmax(axis=1)]
    confusion = (cells.T @ columns).T.astype(np.int64).reshape(-1, classes, classes)
    counts = class_counts(confusion)
    by_class = {name: rate(counts) for name, rate in RATES.items()}
    areas = [auc_of_columns(labels == k, scores[:, k], columns) for k in range(classes)]
    by_class["auc"] = np.stack(areas, axis=1)
    draws = {"accuracy": accuracy(counts)}
    for name, values in by_class.items():
        draws[name] = values.mean(axis=1)
        draws |= {f"{name}.{k}": values[:, k] for k in range(classes)}
    return draws


def rate_intervals(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Bootstrap interval over patients of every metric, named as in `rate_draws`. Deterministic by `rng`.

    Where all is right (or wrong) each bootstrap sample says so too, and the interval would have no width; it
    then gets Wilson's bound for the patients that the figure rests on.
    """
    parts = [rate_draws(truth, probabilities, weights) for weights in weight_chunks(groups, draws, rng)]
    labels = np.asarray(truth, np.int64)
    found = {
        name: percentile_interval(np.concatenate([part[name] for part in parts]), level) for name in parts[0]
    }
    whole = {name for name, (low, high) in found.items() if low == high and low in (0.0, 1.0)}
    for name in whole:
        patients = _patients(name, labels, groups)
        found[name] = wilson(patients if found[name].low == 1.0 else 0, patients, level)
    return found


def _patients(name: str, labels: Integers, groups: Sequence[str]) -> int:
    """Count the patients that metric `name` rests on: of the class, the others, or the smallest class."""
    people = np.array([group or f"image {i}" for i, group in enumerate(groups)], dtype=object)
    metric, _, number = name.partition(".")
    if metric == "accuracy":
        return len(set(people))
    if number and metric in ("specificity", "npv"):
        return len(set(people[labels != int(number)]))
    chosen = [int(number)] if number else sorted(set(labels.tolist()))
    return min(len(set(people[labels == k])) for k in chosen)


def weighted_share(among: npt.ArrayLike, right: npt.ArrayLike, weights: Integers) -> Floats:
    """The share of `right` bool [N] in `among` bool [N] for each row of weights [D,N]: [D]; NaN of none."""
    whole, part = np.asarray(among, bool), np.asarray(among, bool) & np.asarray(right, bool)
    total = weights @ whole.astype(np.float64)
    return np.where(total > 0, weights @ part.astype(np.float64) / np.where(total > 0, total, 1), np.nan)


def share_interval(
    among: npt.ArrayLike, right: npt.ArrayLike, groups: Sequence[str], rng: np.random.Generator
) -> Interval:
    """Interval over patients of the share of `right` bool [N] in `among` bool [N]; groups as `bootstrap`.

    Of none or all it has Wilson's bound for the patients that are there, since no sample would differ.
    """
    whole, part = np.asarray(among, bool), np.asarray(among, bool) & np.asarray(right, bool)
    if part.any() and (part != whole).any():
        return bootstrap(lambda weights: weighted_share(whole, part, weights), groups, rng)
    patients = len({group or i for i, group in enumerate(groups) if whole[i]})
    return wilson(patients if part.any() else 0, patients)


def bootstrap(
    statistic: Callable[[Integers], Floats],
    groups: Sequence[str],
    rng: np.random.Generator,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Bootstrap interval over patients of any figure: `statistic` takes weights [D, N] and gives [D]."""
    parts = [statistic(weights) for weights in weight_chunks(groups, draws, rng)]
    return percentile_interval(np.concatenate(parts), level)


def weight_chunks(groups: Sequence[str], draws: int, rng: np.random.Generator) -> Iterator[Integers]:
    """The rows of `patient_weights`, a few at a time: memory stays flat however many images there are."""
    step = max(1, CHUNK // max(1, len(groups)))
    for start in range(0, draws, step):
        yield patient_weights(groups, min(step, draws - start), rng)


def percentile_interval(values: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The central `level` of bootstrap figures [D]; unknown when more than half of them are NaN."""
    all_values = np.asarray(values, np.float64)
    known = all_values[~np.isnan(all_values)]
    if len(known) * 2 <= len(all_values):
        return UNKNOWN
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
