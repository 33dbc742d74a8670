"""Whether two films are the same picture, however they were resized or compressed: 256 bits each.

As imagehash.phash (`data.ingest.perceptual_hash`), in OpenCV alone, which a host that only screens has: it
tells which of a lung network's training films a film is, nothing more.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

SIDE, LOW = 64, 16
BYTES = LOW * LOW // 8
#: Films that differ in at most so many of the 256 bits are the same picture (docs/lungs.md: measured).
SAME = 32

Bits = npt.NDArray[np.uint8]


def looks_of(film: npt.NDArray[np.uint8]) -> Bits:
    """The bits of uint8 [H,W], packed, uint8 [32]: signs of its lowest frequencies against their median."""
    small = cv2.resize(film, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:LOW, :LOW]
    return np.packbits(low.ravel() > np.median(low))


def nearest(looks: Bits, known: Bits) -> tuple[int, int]:
    """Which of `known` [N,32] is nearest to `looks` [32], and in how many bits it differs.

    (-1, 256) where none is known.
    """
    if len(known) == 0:
        return -1, 8 * BYTES
    distances = np.bitwise_count(known ^ looks).sum(axis=1)
    place = int(distances.argmin())
    return place, int(distances[place])
