"""Boxes and masks beside the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from magsd_cli.artifacts.cache import AGAIN
from magsd_cli.artifacts.cache_truth import (
    boxes_path,
    masks_path,
    read_masks,
    write_boxes,
    write_masks,
)
from magsd_cli.artifacts.tables import read_parquet
from magsd_cli.errors import ArtifactError


def test_boxes(tmp_path: Path) -> None:
    cache = tmp_path / "c-12345678.h5"
    boxes = pd.DataFrame(
        {"image_id": ["a"], "label": ["x"], "x": [1.0], "y": [2.0], "width": [3.0], "height": [4.0]}
    )
    write_boxes(cache, boxes)
    assert boxes_path(cache).name == "c-12345678.boxes.parquet"
    pd.testing.assert_frame_equal(read_parquet(boxes_path(cache), AGAIN), boxes, check_dtype=False)  # type: ignore[arg-type]


def test_masks(tmp_path: Path) -> None:
    cache = tmp_path / "c-12345678.h5"
    assert read_masks(cache) is None
    one = np.eye(16, dtype=np.uint8) * 255
    write_masks(cache, [("a", "lung", one), ("b", "lesion", 255 - one)], 16)
    masks = read_masks(cache)
    assert masks is not None
    np.testing.assert_array_equal(masks.masks, [one, 255 - one])
    assert (masks.image_ids, masks.kinds) == (["a", "b"], ["lung", "lesion"])
    path = masks_path(cache)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="SHA-256"):
        read_masks(cache)
