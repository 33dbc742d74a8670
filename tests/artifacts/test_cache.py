"""The cache is whole or refused, and tells what it holds."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from magsd_cli.artifacts.cache import (
    SAMPLE_COLUMNS,
    dataset_digest,
    find_newest_cache,
    open_cache,
    samples_path,
    write_cache,
)
from magsd_cli.artifacts.files import record_hash
from magsd_cli.errors import ArtifactError
from magsd_cli.settings import Preprocessing

CLASSES = ("COVID-19", "Normal")
SETTINGS = Preprocessing(size=8, clahe=True, clip_limit=2.0, tiles=2)
IMAGES = np.arange(3 * 64, dtype=np.uint8).reshape(3, 1, 8, 8)


def samples_frame() -> pd.DataFrame:
    """Four files: three used (the last unlabelled), one damaged."""
    frame = pd.DataFrame({name: [""] * 4 for name in SAMPLE_COLUMNS})
    frame["image_id"] = ["a.png", "b.png", "bad.png", "ü\n.png"]
    frame["path"] = ["/x/" + name for name in frame["image_id"]]
    frame["sha256"] = ["a" * 64, "b" * 64, "c" * 64, "d" * 64]
    frame["status"] = ["ok", "ok", "error", "ok"]
    frame["warnings"] = [[], ["16 bits"], [], []]
    frame["label"] = ["Normal", "COVID-19", "Normal", ""]
    frame["patient_id"] = ["p1", "p2", "p1", ""]
    frame["exam_id"] = ""
    frame["group_id"] = ["p1", "p2", "", ""]
    frame["width"] = frame["height"] = 8
    frame["index"] = [0, 1, -1, 2]
    return frame


def rows() -> list[dict[Hashable, Any]]:
    return samples_frame().to_dict("records")


def make_cache(folder: Path, frame: pd.DataFrame | None = None, **more: object) -> Path:
    frame = samples_frame() if frame is None else frame
    return write_cache(
        folder, "cxr", frame.to_dict("records"), [IMAGES[:2], IMAGES[2:]], CLASSES, SETTINGS, **more
    )  # type: ignore[arg-type]


def test_round_trip(tmp_path: Path) -> None:
    path = make_cache(tmp_path, source_digest="s")
    cache = open_cache(path)
    np.testing.assert_array_equal(cache.images, IMAGES)
    assert cache.labels.tolist() == [1, 0, -1]
    assert cache.image_ids == ["a.png", "b.png", "ü\n.png"]
    assert cache.patient_ids == ["p1", "p2", ""]
    assert (cache.classes, cache.preprocessing) == (CLASSES, SETTINGS)
    assert path.name == f"cxr-{cache.digest[:8]}.h5"
    table = cache.samples()
    assert list(table.columns) == list(SAMPLE_COLUMNS)
    assert list(table["status"]) == ["ok", "ok", "error", "ok"]
    assert [list(w) for w in table["warnings"]] == [[], ["16 bits"], [], []]


def test_rows_are_written_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_cache(make_cache(tmp_path / "whole"))
    monkeypatch.setattr("magsd_cli.artifacts.cache.GROUP_ROWS", 2)
    pieces = open_cache(make_cache(tmp_path / "pieces"))
    assert pq.ParquetFile(samples_path(pieces.path)).num_row_groups == 2
    pd.testing.assert_frame_equal(pieces.samples(), whole.samples())
    assert pieces.labels.tolist() == whole.labels.tolist()
    for name in ("image_ids", "patient_ids", "group_ids", "digest"):
        assert getattr(pieces, name) == getattr(whole, name)


def test_layout_of_the_h5_file(tmp_path: Path) -> None:
    with h5py.File(make_cache(tmp_path)) as file:
        assert file["images"].chunks is None  # one piece, so that it can be mapped
        assert file["images"].compression is None
        assert file.attrs["schema_version"] == 1


def test_same_content_same_bytes(tmp_path: Path) -> None:
    one, two = make_cache(tmp_path / "1"), make_cache(tmp_path / "2")
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()


def test_names_of_patients_do_not_count_only_who_shares_them() -> None:
    before = dataset_digest(rows(), SETTINGS, CLASSES)
    renamed = samples_frame()
    renamed["patient_id"] = renamed["patient_id"].replace({"p1": "h-1", "p2": "h-2"})
    assert dataset_digest(renamed.to_dict("records"), SETTINGS, CLASSES) == before


@pytest.mark.parametrize(("column", "changes"), [("label", True), ("patient_id", True), ("path", False)])
def test_digest_follows_content_not_place(column: str, changes: bool) -> None:
    before = dataset_digest(rows(), SETTINGS, CLASSES)
    moved = samples_frame()
    moved.loc[0, column] = "other"
    assert (dataset_digest(moved.to_dict("records"), SETTINGS, CLASSES) != before) is changes


def test_bit_flip_is_refused(tmp_path: Path) -> None:
    path = make_cache(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="SHA-256"):
        open_cache(path)


def test_damaged_samples_are_refused(tmp_path: Path) -> None:
    path = make_cache(tmp_path)
    table = samples_path(path)
    table.write_bytes(table.read_bytes()[:-9])
    cache = open_cache(path)
    with pytest.raises(ArtifactError):
        cache.samples()


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        open_cache(tmp_path / "none.h5")
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"no HDF5")
    record_hash(foreign)
    with pytest.raises(ArtifactError, match="not a magsd cache"):
        open_cache(foreign)


def test_future_schema_is_refused(tmp_path: Path) -> None:
    path = make_cache(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    record_hash(path)
    with pytest.raises(ArtifactError, match="schema 99"):
        open_cache(path)


def test_newest_complete_cache(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="magsd prepare"):
        find_newest_cache(tmp_path)
    old = make_cache(tmp_path / "cache")
    frame = samples_frame()
    frame.loc[0, "label"] = "COVID-19"
    new = make_cache(tmp_path / "cache", frame)
    os.utime(old, (1, 1))
    (tmp_path / "cache" / "half.h5").write_bytes(b"")
    assert find_newest_cache(tmp_path) == (new, "the newest")
    bare = write_cache(tmp_path / "cache", "bare", rows(), [IMAGES[:2], IMAGES[2:]], (), SETTINGS)
    os.utime(new, (2, 2))
    assert find_newest_cache(tmp_path) == (new, f"not the newest: {bare.name} has no labels of two classes")


def test_failure_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"):
        write_cache(tmp_path, "cxr", rows(), [IMAGES[:1]], CLASSES, SETTINGS)
    assert not list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob("*.tmp"))


def test_images_are_mapped_and_the_file_never_changes(tmp_path: Path) -> None:
    path = make_cache(tmp_path)
    before = path.read_bytes()
    cache = open_cache(path)
    assert isinstance(cache.images, np.memmap)
    cache.images[0] = 7
    assert path.read_bytes() == before
    assert (open_cache(path).images[0] != 7).any()


def test_a_cache_written_in_pieces_is_read_as_a_whole(tmp_path: Path) -> None:
    path = make_cache(tmp_path)
    expected = np.array(open_cache(path).images)
    with h5py.File(path, "r+") as file:
        del file["images"]
        file.create_dataset("images", data=expected, chunks=(1, 1, 8, 8))
    record_hash(path)
    assert (open_cache(path).images == expected).all()
