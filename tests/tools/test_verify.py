import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_cache import write_tiny_cache

from magsd_cli.artifacts.files import hashed_path
from magsd_cli.artifacts.runs import (
    Run,
    create_run,
    fold_predictions_path,
    history_path,
    metrics_path,
    predictions_path,
    provenance_path,
    state_path,
    weights_path,
    write_json_hashed,
)
from magsd_cli.artifacts.tables import write_parquet
from magsd_cli.errors import ArtifactError
from magsd_cli.recipe import Recipe
from magsd_cli.settings import Preprocessing
from magsd_cli.tools.verify import verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished run, and a cache beside it. What the files say does not matter here."""
    runs = tmp_path_factory.mktemp("runs")
    cache = write_tiny_cache(runs / "cache")
    run = Run(
        path=runs / "run", kind="train", recipe=Recipe(), classes=("a", "b"), cache_path=cache,
        cache_digest="d" * 64, preprocessing=Preprocessing(64), fold_count=5,
        trained=(0,), threads=1,
    )  # fmt: skip
    create_run(run, pd.DataFrame({"index": range(9), "fold": [0, 1, 2] * 3}))
    for file in (weights_path, state_path):
        with hashed_path(file(run.path, 0)) as temporary:
            temporary.write_bytes(np.random.default_rng(0).bytes(3000))
    for file in (history_path, fold_predictions_path):
        write_parquet(file(run.path, 0), pd.DataFrame({"epoch": [1, 2]}))
    write_parquet(predictions_path(run.path), pd.DataFrame({"p_a": [0.5, 0.25]}))
    for file in (metrics_path, provenance_path):
        write_json_hashed(file(run.path), {"seconds": 1.5})
    return run.path


def files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        value = file.read(1)[0]
        file.seek(position)
        file.write(bytes([value ^ (1 << bit)]))


def test_a_whole_run_and_cache(whole, capsys):
    assert verify(whole) == 0
    (cache,) = (whole.parent / "cache").glob("*.h5")
    assert verify(cache) == 0
    assert verify(whole.parent / "cache") == 0
    assert "all match their recorded hashes" in capsys.readouterr().err


def test_single_bit_flips_are_all_noticed(whole):
    """In every file of run and cache, sidecars too: the first and the last bit, and many at random."""
    rng = np.random.default_rng(0)
    for folder in (whole, whole.parent / "cache"):
        for path in files_of(folder):
            size = path.stat().st_size
            places = [(0, 0), (size - 1, 7)]
            places += [(int(rng.integers(size)), int(rng.integers(8))) for _ in range(12)]
            for position, bit in places:
                flip(path, position, bit)
                with pytest.raises(ArtifactError):
                    verify(folder)
                flip(path, position, bit)
        assert verify(folder) == 0


def test_missing_files_are_noticed(whole, tmp_path):
    names = [str(path.relative_to(whole)) for path in files_of(whole)]
    names.remove("fold0/state.pt.sha256")  # a kill while a state is removed: it is said to be not checked
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(whole, copy, copy_function=link)
        (copy / name).unlink()
        with pytest.raises(ArtifactError):
            verify(copy)
        if not name.endswith(".sha256"):
            (copy / f"{name}.sha256").unlink()
            # Without the first two it is an unfinished run, and a finished fold needs no state.
            if name not in ("metrics.json", "predictions.parquet", "fold0/state.pt"):
                with pytest.raises(ArtifactError):
                    verify(copy)
        shutil.rmtree(copy)


def link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def test_what_is_no_artifact_is_said(tmp_path, capsys):
    with pytest.raises(ArtifactError, match="not found"):
        verify(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match="no file here has a recorded hash"):
        verify(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ArtifactError):
        verify(tmp_path / "notes.txt")
    assert "no hash was recorded" in capsys.readouterr().err
