"""Masks of lungs and lesions, from pictures and outlines, at the size of a prepared image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode import check_size, read_bytes
from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.headers import read_header
from magsd_cli.data.layouts.listing import Outlines

#: A part of a film as shares of its width and height: left, top, width, height.
Part = tuple[float, float, float, float]
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


def draw_mask(mask: Path | Outlines, size: int, part: Part = WHOLE) -> npt.NDArray[np.uint8]:
    """`part` of a mask as uint8 [size,size], 0 or 255. Raises `DecodeError` when its picture cannot be read.

    The mask covers the whole film, so it is cut and stretched to the square as the film is.
    """
    if isinstance(mask, Outlines):
        return _fill(mask, size, part)
    data = read_bytes(mask)
    header = read_header(data)
    check_size(header.width, header.height)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise DecodeError("corrupt", "the mask cannot be decoded")
    on = (picture > picture.max() // 2).astype(np.uint8) * 255
    if part != WHOLE:
        on = on[_pixels(part[1], part[3], on.shape[0]), _pixels(part[0], part[2], on.shape[1])]
    resized = cv2.resize(on, (size, size), interpolation=cv2.INTER_AREA)
    return np.where(resized > 127, 255, 0).astype(np.uint8)


def _pixels(start: float, share: float, pixels: int) -> slice:
    """The pixels that a part of a side takes, at least one."""
    first = min(round(start * pixels), pixels - 1)
    return slice(first, max(first + 1, round((start + share) * pixels)))


def _fill(outlines: Outlines, size: int, part: Part) -> npt.NDArray[np.uint8]:
    if outlines.width <= 0 or outlines.height <= 0:
        raise DecodeError("corrupt", "the outlines name no frame")
    mask = np.zeros((size, size), np.uint8)
    left, top, width, height = part
    scale = np.array([size / outlines.width / width, size / outlines.height / height])
    corner = np.array([left * size / width, top * size / height])
    for polygon in outlines.polygons:
        corners = np.round(np.array(polygon) * scale - corner).clip(-size, 2 * size).astype(np.int32)
        if len(corners) >= 3:
            cv2.fillPoly(mask, [corners], 255)
    return mask
