"""Random single-bit flips: each is noticed by whatever reads the artifact next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from undisturbed import Site

from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.checkpoints import read_state, read_weights
from magsd_cli.artifacts.files import hash_sidecar
from magsd_cli.artifacts.tables import OUT_OF_FOLD, PREDICTION, read_table
from magsd_cli.errors import ArtifactError
from magsd_cli.tools.verify import verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FLIPS = 1000
READERS: dict[str, Callable[[Path], object]] = {
    "cv/fold0/weights.safetensors": read_weights,
    "cv/fold0/state.pt": read_state,
    "cv/model.magsd": verify,
    "cache/*.h5": open_cache,
    "t.parquet": lambda path: read_table(path, PREDICTION),
    "cv/predictions.parquet": lambda path: read_table(path, OUT_OF_FOLD),
}


def unnoticed(site: Site, pattern: str, folder: Path, flips: int) -> int:
    """How many of so many single flips, of a copy in `folder`, no reader notices."""
    (original,) = (site.folder / "whole").glob(pattern)
    copy = folder / original.name
    copy.write_bytes(original.read_bytes())
    if hash_sidecar(original).exists():
        hash_sidecar(copy).write_bytes(hash_sidecar(original).read_bytes())
    READERS[pattern](copy)
    rng, size, missed = np.random.default_rng(len(pattern)), copy.stat().st_size, 0
    with copy.open("r+b") as file:
        for _ in range(flips):
            place, bit = int(rng.integers(size)), 1 << int(rng.integers(8))
            change(file, place, bit)
            try:
                READERS[pattern](copy)
            except ArtifactError:
                pass
            else:
                missed += 1
            change(file, place, bit)
    READERS[pattern](copy)
    return missed


def change(file, place: int, bit: int) -> None:  # type: ignore[no-untyped-def]
    file.seek(place)
    value = file.read(1)[0]
    file.seek(place)
    file.write(bytes([value ^ bit]))
    file.flush()


@pytest.mark.sample
@pytest.mark.parametrize("pattern", READERS)
def test_ten_flips(site: Site, tmp_path: Path, pattern: str) -> None:
    assert unnoticed(site, pattern, tmp_path, 10) == 0


@pytest.mark.parametrize("pattern", ["cv/fold0/weights.safetensors", "cache/*.h5", "t.parquet"])
def test_a_thousand_flips_in_all(site: Site, tmp_path: Path, pattern: str) -> None:
    assert unnoticed(site, pattern, tmp_path, -(-FLIPS // 3)) == 0
