"""Finished images of an unfinished prepare: small whole files in its work folder, merged at the end.

A shard is an ``.npz`` (its ZIP checksums notice damage) with images uint8 [B,S,S], their positions in the
listing, and a JSON row for every file, decoded or not. A shard that cannot be read is done again.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import atomic_path, read_json, sweep_orphans, write_json
from magsd_cli.errors import ArtifactError

SHARD_IMAGES = 64
SHARD_BYTES = 16 * 2**20
Row = dict[str, Any]
Images = npt.NDArray[np.uint8]


def work_folder(cache_folder: Path, key: str) -> Path:
    """Return the folder where a prepare with this source key keeps what is finished."""
    return cache_folder / f".work-{key[:16]}"


def images_of_shard(size: int) -> int:
    """Return the largest number of images of `size` x `size` pixels in a shard."""
    return max(1, min(SHARD_IMAGES, SHARD_BYTES // size**2))


def write_shard(work: Path, finished: dict[int, tuple[Row, Images | None]]) -> Path:
    """Write the rows and images finished since the last shard. Raises `OutputError`."""
    positions = sorted(finished)
    with_image = [p for p in positions if finished[p][1] is not None]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        images=np.array([finished[p][1] for p in with_image], np.uint8),
        positions=np.array(with_image, np.int64),
        rows=np.frombuffer(json.dumps({str(p): finished[p][0] for p in positions}).encode(), np.uint8),
    )
    path = work / f"{positions[0]:08d}-{positions[-1]:08d}-{len(positions)}.npz"
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    return path


class Finished:
    """Results of `count` files so far: the error code of each, and the shard that holds its row and image.

    Six bytes a file are kept in memory; the rest is in the shards of the folder `work`.
    """

    def __init__(self, work: Path, count: int) -> None:
        self._work = work
        self._shards: list[Path] = []
        self._codes: dict[str, int] = {}
        self._shard_of = np.full(count, -1, np.int32)
        self._code_of = np.full(count, -1, np.int16)

    def read(self) -> Finished:
        """Take in the shards that an earlier run left; one that cannot be read is removed."""
        sweep_orphans(self._work)
        for path in sorted(self._work.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as shard:
                    found = _rows_in(shard)
                    _ = shard["positions"], shard["images"]  # reads them, and so checks their checksums
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                path.unlink()
                continue
            self._take(path, found)
        return self

    def write(self, finished: dict[int, tuple[Row, Images | None]]) -> None:
        """Write the next shard. Raises `OutputError`."""
        path = write_shard(self._work, finished)
        self._take(path, {position: row for position, (row, _) in finished.items()})

    def _take(self, path: Path, rows: Mapping[int, Row]) -> None:
        for position, row in rows.items():
            self._code_of[position] = self._codes.setdefault(row["error_code"], len(self._codes))
            self._shard_of[position] = len(self._shards)
        self._shards.append(path)

    def __contains__(self, position: int) -> bool:
        return bool(self._shard_of[position] >= 0)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._shard_of >= 0))

    def failed(self) -> set[int]:
        """The positions of the files that could not be used."""
        fine = self._codes.get("", -1)
        return set(np.flatnonzero((self._code_of >= 0) & (self._code_of != fine)).tolist())

    def rows(self) -> Iterator[Row | None]:
        """The row of each file in order, None of one that is not finished; a few shards are in memory."""
        load = lru_cache(maxsize=8)(self._read_rows)
        for position, shard in enumerate(self._shard_of):
            yield load(int(shard))[position] if shard >= 0 else None

    def _read_rows(self, shard: int) -> dict[int, Row]:
        with np.load(self._shards[shard], allow_pickle=False) as content:
            return _rows_in(content)

    def images(self, positions: Iterable[int]) -> Iterator[Images]:
        """Yield the image of each position as [1,1,S,S]; a few shards at a time are in memory."""
        load = lru_cache(maxsize=8)(self._read_images)
        for position in positions:
            places, images = load(int(self._shard_of[position]))
            yield images[places[position]][None, None]

    def _read_images(self, shard: int) -> tuple[dict[int, int], Images]:
        with np.load(self._shards[shard], allow_pickle=False) as content:
            return {p: i for i, p in enumerate(content["positions"].tolist())}, content["images"]


def _rows_in(shard: Any) -> dict[int, Row]:
    rows: dict[str, Row] = json.loads(shard["rows"].tobytes())
    return {int(position): row for position, row in rows.items()}


def mark_done(work: Path, cache: Path) -> None:
    """Note the cache that came of this work and drop the shards: it need not be done again."""
    write_json(work / "done.json", {"cache": cache.name})
    for path in work.glob("*.npz"):
        path.unlink()


def done_cache(work: Path) -> Path | None:
    """The cache that this work ended in, if the work is finished; its name alone, it may be gone since."""
    try:
        return work.parent / str(read_json(work / "done.json")["cache"])
    except (ArtifactError, KeyError, TypeError):
        return None
