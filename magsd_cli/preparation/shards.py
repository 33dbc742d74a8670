"""Finished images of an unfinished prepare: small whole files in its work folder, merged at the end.

A shard is an ``.npz`` (its ZIP checksums notice damage) with images uint8 [B,S,S], their positions in the
listing, and a JSON row for every file, decoded or not. A shard that cannot be read is done again.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
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


def read_finished(work: Path) -> tuple[dict[int, str], dict[int, Path]]:
    """Read what is finished: the error code of each position, and the shard that holds its image."""
    codes: dict[int, str] = {}
    shards: dict[int, Path] = {}
    sweep_orphans(work)
    for path in sorted(work.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as shard:
                found = _rows_in(shard)
                positions = shard["positions"].tolist()
                shard["images"].shape  # noqa: B018 (reads it, and so checks its checksum)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink()
            continue
        codes |= {position: sys.intern(row["error_code"]) for position, row in found.items()}
        shards |= dict.fromkeys(positions, path)
    return codes, shards


def read_rows(work: Path) -> Iterator[tuple[int, Row]]:
    """Each finished position and its row; the rows of one shard are in memory at a time."""
    for path in sorted(work.glob("*.npz")):
        with np.load(path, allow_pickle=False) as shard:
            yield from _rows_in(shard).items()


def _rows_in(shard: Any) -> dict[int, Row]:
    rows: dict[str, Row] = json.loads(shard["rows"].tobytes())
    return {int(position): row for position, row in rows.items()}


def read_images(positions: Iterable[int], shards: dict[int, Path]) -> Iterator[Images]:
    """Yield the image of each position as [1,1,S,S]; a few shards at a time are in memory."""

    @lru_cache(maxsize=8)
    def load(path: Path) -> tuple[dict[int, int], Images]:
        with np.load(path, allow_pickle=False) as shard:
            return {p: i for i, p in enumerate(shard["positions"].tolist())}, shard["images"]

    for position in positions:
        places, images = load(shards[position])
        yield images[places[position]][None, None]


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
