"""Section 4.2: every image is brought to one size and its contrast equalised with CLAHE."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.settings import Preprocessing

Pixels = npt.NDArray[np.uint8]


def resize(pixels: Pixels, size: int) -> Pixels:
    """uint8 [H,W] -> uint8 [size,size]: area averages when it shrinks, linear when it grows.

    A picture of at least four times the size is halved first, exactly (2x2 means): the same to 0.2 of 255 on
    average and nearly three times as fast.
    """
    height, width = pixels.shape
    while min(height, width) >= 4 * size and height % 2 == 0 and width % 2 == 0:
        height, width = height // 2, width // 2
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if (height, width) == (size, size):
        return pixels
    method = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    return cv2.resize(pixels, (size, size), interpolation=method)  # type: ignore[return-value]


def equalise(pixels: Pixels, clip_limit: float, tiles: int) -> Pixels:
    """Contrast limited adaptive histogram equalisation of uint8 [H,W] over tiles x tiles regions."""
    return cv2.createCLAHE(clip_limit, (tiles, tiles)).apply(pixels)  # type: ignore[return-value]


def prepare_pixels(pixels: Pixels, how: Preprocessing) -> Pixels:
    """uint8 [H,W] of any size -> uint8 [size,size] as it is cached; CLAHE comes after resizing."""
    resized = resize(pixels, how.size)
    return equalise(resized, how.clip_limit, how.tiles) if how.clahe else resized


def resize_images(images: Pixels, size: int) -> Pixels:
    """uint8 [N,1,S,S] -> uint8 [N,1,size,size] by area: cached images at a recipe's smaller size."""
    if images.shape[-1] == size:
        return images
    out = np.empty((len(images), 1, size, size), np.uint8)
    for image, resized in zip(images, out, strict=True):
        resized[0] = cv2.resize(image[0], (size, size), interpolation=cv2.INTER_AREA)
    return out
