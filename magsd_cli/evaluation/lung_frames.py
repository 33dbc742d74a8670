"""What the box around the lungs says by itself, where films are cut to it: a crop can be a shortcut too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.cache import FRAME_COLUMNS
from magsd_cli.metrics.intervals import Interval, share_interval

Floats = npt.NDArray[np.float64]
#: What the box is told by: left, top, width and height as shares of the film, and the shape of what is kept.
MEASURES = ("left", "top", "width", "height", "width to height")


@dataclass(frozen=True)
class FrameShares:
    """Of one class: films, how many are kept whole with the share's interval over patients, and the mean and
    deviation of each of `MEASURES` over the others; None where there is none.
    """

    films: int
    whole: int
    interval: Interval
    means: tuple[float, ...] | None
    deviations: tuple[float, ...] | None


def frame_features(tested: pd.DataFrame) -> Floats | None:
    """`MEASURES` of each tested film [N, 5], and whether it is kept whole, [N, 6]; None where none is cut.

    tested: its rows of the samples table. The last measure is a logarithm here; a film that is kept whole
    has the box of the whole film.
    """
    if FRAME_COLUMNS[0] not in tested:
        return None
    film = tested[["width", "height"]].to_numpy(np.float64)
    box = tested[list(FRAME_COLUMNS)].to_numpy(np.float64, copy=True)
    whole = np.isnan(box[:, 0])
    box[whole, :2], box[whole, 2:] = 0, film[whole]
    sides = np.tile(film, 2)
    shape = np.log(box[:, 2] / box[:, 3])
    return np.column_stack([box / sides, shape, whole])


def frames_by_class(
    features: Floats, truth: npt.NDArray[np.int64], classes: int, patients: Sequence[str]
) -> tuple[FrameShares, ...]:
    """Each class's shares, of what `frame_features` gives; truth: class numbers [N]."""
    whole = features[:, -1] > 0
    values = np.column_stack([features[:, :4], np.exp(features[:, 4])])
    found = []
    for number in range(classes):
        own = truth == number
        cut = values[own & ~whole]
        interval = share_interval(own, whole, patients, np.random.default_rng(0))
        means = deviations = None
        if len(cut):
            means, deviations = tuple(cut.mean(axis=0).tolist()), tuple(cut.std(axis=0).tolist())
        found.append(FrameShares(int(own.sum()), int((own & whole).sum()), interval, means, deviations))
    return tuple(found)
