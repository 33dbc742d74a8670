"""Masks of lungs or lesions, from a picture or from outlines, at the size of the cached images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode import check_size, read_bytes
from magsd_cli.data.faults import DecodeError
from magsd_cli.data.headers import read_header
from magsd_cli.data.layouts.listing import Outlines


def draw_mask(mask: Path | Outlines, size: int) -> npt.NDArray[np.uint8]:
    """A mask as uint8 [size,size], 0 or 255. Raises `DecodeError` when its picture cannot be read.

    The mask covers the whole image, so it is stretched to the square as the image is.
    """
    if isinstance(mask, Outlines):
        return _fill(mask, size)
    data = read_bytes(mask)
    header = read_header(data)
    check_size(header.width, header.height)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise DecodeError("corrupt", "the mask cannot be decoded")
    on = (picture > picture.max() // 2).astype(np.uint8) * 255
    resized = cv2.resize(on, (size, size), interpolation=cv2.INTER_AREA)
    return np.where(resized > 127, 255, 0).astype(np.uint8)


def _fill(outlines: Outlines, size: int) -> npt.NDArray[np.uint8]:
    if outlines.width <= 0 or outlines.height <= 0:
        raise DecodeError("corrupt", "the outlines name no frame")
    mask = np.zeros((size, size), np.uint8)
    scale = np.array([size / outlines.width, size / outlines.height])
    for polygon in outlines.polygons:
        corners = np.round(np.array(polygon) * scale).clip(-size, 2 * size).astype(np.int32)
        if len(corners) >= 3:
            cv2.fillPoly(mask, [corners], 255)
    return mask
