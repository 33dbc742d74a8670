"""The answer of every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Prediction:
    """`probabilities` float32 [N,K], each row in [0, 1] summing to 1; `attention` float32 [N,h,w] or None.

    `members` [N,M,K]: the probabilities of each of the M networks whose mean `probabilities` is.
    `class_maps` float32 [N,K,h,w]: the part of each logit that comes from each pixel; None where the network
    or its model file has none.
    """

    probabilities: npt.NDArray[np.float32]
    attention: npt.NDArray[np.float32] | None
    members: npt.NDArray[np.floating] | None = None
    class_maps: npt.NDArray[np.float32] | None = None

    def of_each_network(self) -> npt.NDArray[np.floating]:
        """`members`, or the mean as the only one."""
        return self.probabilities[:, None] if self.members is None else self.members


def joined(parts: Sequence[Prediction]) -> Prediction:
    """The answers for images, part after part, as one; at least one part. Maps are there for all or none."""
    attention = [part.attention for part in parts if part.attention is not None]
    class_maps = [part.class_maps for part in parts if part.class_maps is not None]
    return Prediction(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate(attention) if attention else None,
        np.concatenate([part.of_each_network() for part in parts]),
        np.concatenate(class_maps) if class_maps else None,
    )
