"""Resizing by area and CLAHE."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pictures import gradient

from magsd_cli.data.clahe import equalise, prepare_pixels, resize, resize_images
from magsd_cli.settings import Preprocessing


def test_shrinking_takes_area_means() -> None:
    pixels = np.array([[0, 100, 8, 8], [100, 200, 8, 8], [1, 1, 50, 60], [3, 3, 70, 80]], np.uint8)
    np.testing.assert_array_equal(resize(pixels, 2), [[100, 8], [2, 65]])


def test_halving_first_changes_next_to_nothing() -> None:
    pixels = cv2.resize(gradient(), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    direct = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(resize(pixels, 224) - direct).mean() < 0.5
    assert np.abs(resize(pixels, 224) - direct).max() <= 2


def test_any_shape_becomes_square() -> None:
    for shape in ((20, 300), (301, 77), (64, 64), (1000, 998)):
        out = prepare_pixels(gradient(*shape), Preprocessing(64))
        assert out.shape == (64, 64)
        assert out.dtype == np.uint8


def test_clahe_raises_contrast_and_can_be_left_out() -> None:
    dull = (gradient(64, 64) // 8 + 100).astype(np.uint8)
    assert prepare_pixels(dull, Preprocessing(64)).std() > 2 * dull.std()
    np.testing.assert_array_equal(prepare_pixels(dull, Preprocessing(64, clahe=False)), dull)
    np.testing.assert_array_equal(equalise(dull, 4.0, 4), cv2.createCLAHE(4.0, (4, 4)).apply(dull))


def test_cached_images_at_a_smaller_size() -> None:
    images = np.stack([gradient(64, 64), 255 - gradient(64, 64)])[:, None]
    small = resize_images(images, 32)
    assert small.shape == (2, 1, 32, 32)
    np.testing.assert_array_equal(
        small[1, 0], cv2.resize(images[1, 0], (32, 32), interpolation=cv2.INTER_AREA)
    )
    assert resize_images(images, 64) is images


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ((512, 512), 224),
        ((512, 256), 224),
        ((512, 512), 192),
        ((256, 512), 96),
        ((448, 512), 224),
        ((320, 256), 160),
    ],
)
def test_area_means_are_those_of_opencv_to_the_bit(sides: tuple[int, int], size: int) -> None:
    for seed in range(6):
        pixels = np.random.default_rng(seed).integers(0, 256 >> seed % 3, sides, dtype=np.uint8)
        if seed % 2:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 2), np.uint8)
        expected = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(resize(pixels, size), expected)
