"""What every engine answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Prediction:
    """`probabilities` float32 [N,K], each row in [0, 1] summing to 1; `attention` float32 [N,h,w] or None."""

    probabilities: npt.NDArray[np.float32]
    attention: npt.NDArray[np.float32] | None
