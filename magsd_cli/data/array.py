"""A film that is an array already, judged and scaled as a file of the same pixels is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode import SMALL_SIDE, Decoded, check_size
from magsd_cli.data.gray import refuse_constant, to_eight_bits
from magsd_cli.data.two_grays import refuse_mask
from magsd_cli.errors import UsageError


def decode_array(film: npt.NDArray[Any]) -> Decoded:
    """Take uint8 or uint16 `film` [H,W], white is dense, as what is in a gray PNG of these pixels.

    Raises `UsageError` for another type or shape, `DecodeError` for what a file is refused for as well:
    too small, too large, constant, a mask.
    """
    if film.ndim != 2:
        shape = "x".join(map(str, film.shape))
        raise UsageError(f"array of {shape}: a film is [H,W]; give several as a list, colours as gray")
    if film.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"array of {film.dtype}: a film is uint8 or uint16, as it was decoded")
    check_size(film.shape[1], film.shape[0])
    refuse_constant(film)
    warnings: list[str] = []
    pixels = np.ascontiguousarray(film)
    if pixels.dtype == np.uint16:
        pixels = to_eight_bits(pixels, warnings)
        refuse_constant(pixels)
    if min(pixels.shape) < SMALL_SIDE:
        warnings.append(f"small picture ({pixels.shape[1]}x{pixels.shape[0]} pixels)")
    refuse_mask(pixels)
    return Decoded(pixels, warnings=tuple(warnings))
