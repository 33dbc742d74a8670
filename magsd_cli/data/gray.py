"""Decoded pixels of any kind become one upright 8-bit grayscale picture, with notes on how they were read."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode_error import DecodeError

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]

DEPTHS = (8, 10, 12, 14, 16)  # what detectors deliver
COLOURED = 32  # spread between the channels of a pixel from which the eye calls it coloured
MOST_TINTED = 2  # mean spread from which a picture counts as tinted
MOST_COLOURED = 0.2  # a larger share of coloured pixels is no radiograph


def used_depth(highest: int) -> int:
    """The smallest of the usual depths (8, 10, 12, 14, 16 bits) that holds the value `highest`."""
    return next((bits for bits in DEPTHS if highest < 1 << bits), 16)


def to_eight_bits(samples: npt.NDArray[np.uint16], warnings: list[str], bits: int | None = None) -> Pixels:
    """Scale uint16 [H,W] to uint8 linearly from the depth in use: 12 bits in 16 must not come out black.

    `bits` is the depth that the header declares, if it is to be believed.
    """
    highest = int(samples.max())
    depth = bits if bits and 8 <= bits <= 16 and highest < 1 << bits else used_depth(highest)
    warnings.append(f"16-bit samples read as {depth} bits (highest value {highest})")
    return np.asarray(cv2.convertScaleAbs(samples, alpha=255.0 / ((1 << depth) - 1)), np.uint8)


def merge_colours(samples: Samples, warnings: list[str]) -> Samples:
    """[H,W,3 or 4] in OpenCV's BGR(A) order to [H,W]. Raises `DecodeError` when it is a colour picture."""
    spread = np.ptp(thin_out(samples), axis=2)
    share = float((spread > COLOURED).mean())
    if share > MOST_COLOURED:
        raise DecodeError("not_grayscale", f"a colour picture ({share:.0%} of it is coloured)")
    if share > 0.001:
        warnings.append(f"coloured marks ({share:.1%} of the picture) read as gray")
    elif float(spread.mean()) > MOST_TINTED:
        warnings.append("tinted picture read as gray")
    code = cv2.COLOR_BGR2GRAY if samples.shape[2] == 3 else cv2.COLOR_BGRA2GRAY
    return cv2.cvtColor(samples, code)


def thin_out(samples: Samples) -> Samples:
    """Every n-th pixel of [H,W,3 or 4], at most about 256 a side, as 8 bits in int32: for judging colour."""
    step = max(1, int(max(samples.shape[:2]) / 256))
    return samples[::step, ::step, :3].astype(np.int32) >> (8 if samples.dtype == np.uint16 else 0)


def merge_alpha(gray: Samples, alpha: Samples, warnings: list[str]) -> Samples:
    """Drop an opaque alpha channel; lay a transparent picture on black."""
    full = np.iinfo(alpha.dtype).max
    if int(alpha.min()) == full:
        warnings.append("opaque alpha channel ignored")
        return gray
    warnings.append("transparent areas read as black")
    return cv2.multiply(gray, alpha, scale=1.0 / full)


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation 1..8 (2, 4, 5, 7 are mirrored ones)."""
    if orientation == 1:
        return pixels
    if orientation in (5, 6, 7, 8):
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def refuse_constant(pixels: Samples) -> None:
    """Raise `DecodeError` when all pixels of [H,W] are the same: there is nothing to see."""
    # Of nearly every picture the first and the middle pixel tell: the rest need not be read.
    first, middle = pixels.flat[0], pixels.flat[pixels.size // 2]
    if first == middle and pixels.min() == pixels.max():
        raise DecodeError("constant", f"every pixel has the same value ({pixels.flat[0]})")
