"""Lesion boxes and masks of lesions and lungs that a cache's sources bring, beside the cache.

``<name>-<hash8>.boxes.parquet``: lesion boxes in pixels of the source images; ``<name>-<hash8>.masks.npz``:
masks at the size of the cached images.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.cache import SUFFIX
from magsd_cli.artifacts.files import check_hash, hashed_path
from magsd_cli.artifacts.tables import write_parquet
from magsd_cli.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd


SCHEMA_VERSION = 1


def boxes_path(cache: Path) -> Path:
    """Return the path of a cache's lesion boxes, which exist if its sources have any."""
    return cache.with_name(cache.name.removesuffix(SUFFIX) + ".boxes.parquet")


def write_boxes(cache: Path, boxes: pd.DataFrame) -> None:
    """Write the boxes: image_id, label, x, y, width, height in pixels of the source image."""
    write_parquet(boxes_path(cache), boxes)


@dataclass(frozen=True)
class Masks:
    """Masks uint8 [M,S,S], 0 or 255, of the images `image_ids`; of what: "lung" or "lesion" each."""

    masks: npt.NDArray[np.uint8] = field(repr=False)
    image_ids: list[str] = field(repr=False)
    kinds: list[str] = field(repr=False)


def masks_path(cache: Path) -> Path:
    """Return the path of a cache's masks, which exist if its sources have any."""
    return cache.with_name(cache.name.removesuffix(SUFFIX) + ".masks.npz")


def write_masks(cache: Path, masks: Iterable[tuple[str, str, npt.NDArray[np.uint8]]], size: int) -> None:
    """Write (image id, kind, mask uint8 [S,S]) one after the other, a bit a pixel. Raises `OutputError`."""
    image_ids, kinds, rows = [], [], []
    for image_id, kind, mask in masks:
        image_ids.append(image_id)
        kinds.append(kind)
        rows.append(np.packbits(mask > 0))
    with hashed_path(masks_path(cache)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            schema_version=np.array(SCHEMA_VERSION),
            size=np.array(size),
            image_id=np.array(image_ids, np.str_),
            kind=np.array(kinds, np.str_),
            bits=np.array(rows, np.uint8),
        )


def read_masks(cache: Path) -> Masks | None:
    """The masks beside the cache file, or None. Raises `ArtifactError` when they are damaged."""
    path = masks_path(cache)
    if not path.is_file():
        return None
    check_hash(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            size = int(file["size"])
            pixels = np.unpackbits(file["bits"], axis=1, count=size * size) * np.uint8(255)
            return Masks(pixels.reshape(-1, size, size), file["image_id"].tolist(), file["kind"].tolist())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path}: not a mask file of magsd ({type(error).__name__}); prepare again"
        ) from error
