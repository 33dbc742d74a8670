"""Pictures of two gray values are masks; films are not, however dark."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import encoded, gradient, noise

from magsd_cli.data.decode import DecodeError, read_image
from magsd_cli.data.two_grays import refuse_mask


def mask(side: int = 256, on: int = 255) -> np.ndarray:  # type: ignore[type-arg]
    picture = np.zeros((side, side), np.uint8)
    cv2.circle(picture, (side // 3, side // 2), side // 5, on, -1)
    cv2.circle(picture, (2 * side // 3, side // 2), side // 5, on, -1)
    return picture


@pytest.mark.parametrize(
    ("on", "options"),
    [
        (255, (".png",)),
        (1, (".png",)),
        (128, (".bmp",)),
        (255, (".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)),
        (255, (".jpg", cv2.IMWRITE_JPEG_QUALITY, 50)),
    ],
)
def test_a_mask_in_any_format(on: int, options: tuple[str, int, int], tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(encoded(mask(on=on), *options))
    with pytest.raises(DecodeError) as caught:
        read_image(path)
    assert (caught.value.code, len(caught.value.sha256)) == ("mask", 64)


@pytest.mark.parametrize(
    "picture",
    [
        gradient(),
        noise(1),
        np.pad(gradient(), 60),
        gradient() // 8,
        np.where(gradient() < 120, 0, gradient()),
    ],
)
def test_films_pass(picture: np.ndarray) -> None:  # type: ignore[type-arg]
    refuse_mask(np.asarray(picture, np.uint8))


@pytest.mark.real
def test_real_films_pass_and_real_masks_do_not(shared_data: Path) -> None:
    for path in sorted((shared_data / "cxr/images").rglob("*.jpg"))[::8]:
        refuse_mask(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    masks = sorted((shared_data / "cxr/lung_masks").rglob("*.png"))
    assert masks
    for path in masks:
        with pytest.raises(DecodeError):
            refuse_mask(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
