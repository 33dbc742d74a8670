"""What a lung network is worth: Dice with its interval, and how often two lungs are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.lungs.geometry import THRESHOLD, two_lungs
from magsd_cli.lungs.network import EVERYWHERE, LungNetwork
from magsd_cli.metrics.intervals import bootstrap
from magsd_cli.training.lungs.films import SIZE, Films


@dataclass(frozen=True)
class Figure:
    """Over `films` of `patients`, `of` some source, class or people; `how`: in which way not trained on.

    `dice`: mean over films at the network's size, with its 95% interval over patients; None where they have
    no masks. `found`: on how many films two lungs are found.
    """

    of: str
    how: str
    films: int
    patients: int
    found: int
    masks: bool
    dice: float | None = None
    low: float | None = None
    high: float | None = None

    def values(self) -> dict[str, Any]:
        """As plain values, for the card."""
        return asdict(self)


def measure_lungs(
    network: LungNetwork, films: Films, how: str, folds: npt.NDArray[np.int8] | None = None
) -> list[Figure]:
    """Figures of `films` with masks and of those without, by source, people and class where they differ.

    folds: the fold of each film, whose network is asked; below 0, and without folds, the one of all films.
    """
    asked = np.full(len(films), EVERYWHERE) if folds is None else np.maximum(folds, EVERYWHERE)
    dice, found = np.full(len(films), np.nan), np.zeros(len(films), bool)
    for i in range(len(films)):
        map_ = network.ask(films.pixels[i], int(asked[i]))
        found[i] = two_lungs(map_, (SIZE, SIZE)) is not None
        if films.has_mask[i]:
            dice[i] = dice_of(map_ >= THRESHOLD, films.masks[i] > 127)
    return [
        _figure(f"{name}, {'with' if masked else 'without'} masks", how, films, among, dice, found)
        for masked in (True, False)
        for name, among in _groups(films, films.has_mask == masked)
    ]


def dice_of(found: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """The Dice coefficient of two masks of one shape: 2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0


def _groups(films: Films, among: npt.NDArray[np.bool_]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Each source, and in it children and adults, and the classes, where there are two and more of these."""
    if not among.any():
        return
    listed = films.listed
    for source in sorted({film.source for film in listed}):
        own = among & np.array([film.source == source for film in listed])
        if not own.any():
            continue
        yield source, own
        for kind in ("people", "label"):
            words = np.array([getattr(film, kind) for film in listed])
            names = sorted(set(words[own]) - {""})
            if len(names) > 1:
                yield from ((f"{source}, {name}", own & (words == name)) for name in names)


def _figure(
    of: str,
    how: str,
    films: Films,
    among: npt.NDArray[np.bool_],
    dice: npt.NDArray[np.float64],
    found: npt.NDArray[np.bool_],
) -> Figure:
    places = np.flatnonzero(among)
    patients = [films.listed[i].patient for i in places]
    count = len({name or f"\0{i}" for name, i in zip(patients, places, strict=True)})
    scores = dice[places]
    plain = (of, how, len(places), count, int(found[places].sum()))
    if np.isnan(scores).any():
        return Figure(*plain, masks=False)
    low, high = mean_interval(scores, patients)
    return Figure(*plain, True, float(scores.mean()), low, high)


def mean_interval(
    scores: npt.NDArray[np.float64], patients: Sequence[str]
) -> tuple[float | None, float | None]:
    """The 95% interval of the mean of `scores` [N], by bootstrap over patients, from 2,000 samples.

    Of one patient nothing can be said: (None, None).
    """
    if len({name or place for place, name in enumerate(patients)}) < 2:
        return None, None
    return bootstrap(
        lambda weights: (weights @ scores) / weights.sum(axis=1), patients, np.random.default_rng(0), 2_000
    )
