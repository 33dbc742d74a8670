"""Bad options, caches and runs for train and report: the promised code, one line, and nothing left behind."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
from undisturbed import Site

from magsd_cli.artifacts.files import record_hash

pytestmark = pytest.mark.slow
sample = pytest.mark.sample


def refused(site: Site, arguments: list[object], code: int, log: Path) -> str:
    """The one line that says why."""
    assert site.nursery.run(arguments, log) == code, log.read_text()
    errors = [line for line in log.read_text().splitlines() if "magsd: error:" in line]
    assert len(errors) == 1
    assert "Traceback" not in log.read_text()
    return errors[0]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--set", "train.lr=0"], 2),
        pytest.param(["--set", "train.lr=nan"], 2, marks=sample),
        (["--set", "train.lr=-1"], 2),
        (["--set", "train.batch_size=0"], 2),
        (["--set", "train.epochs=0"], 2),
        (["--set", "train.epochs=many"], 2),
        (["--set", "model.name=resnet5"], 2),
        (["--set", "train"], 2),
        (["--recipe", "no-such-recipe"], 2),
        (["--name", "../elsewhere"], 2),
        (["--device", "tpu"], 2),
        pytest.param(["--set", "image.size=512"], 5, marks=sample),
        (["--set", "model.weights=none.pt"], 5),
        (["--cache", "/no/such/cache.h5"], 5),
    ],
)
def test_train_refuses(site: Site, tmp_path: Path, options: list[str], code: int) -> None:
    runs = tmp_path / "runs"
    refused(site, [*site.words("train", runs), *options], code, tmp_path / "log")
    assert [path for path in runs.rglob("*") if path.is_file() and not path.name.startswith(".")] == []


def test_more_folds_than_patients(site: Site, tmp_path: Path) -> None:
    words = [*site.words("cv", tmp_path / "runs"), "--folds", 1000]
    assert "--folds 1000" in refused(site, words, 2, tmp_path / "log")


@sample
def test_a_damaged_cache(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.folder / "whole" / "cache", tmp_path / "cache")
    (cache,) = (tmp_path / "cache").glob("*.h5")
    cache.write_bytes(cache.read_bytes()[:-100])
    words = [*site.words("train", tmp_path / "runs"), "--cache", cache]
    assert str(cache.name) in refused(site, words, 5, tmp_path / "log")


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Path:
    """A copy of the finished cv, to be spoilt."""
    copy = tmp_path / "copy"
    shutil.copytree(site.folder / "whole" / "cv", copy)
    return copy


@pytest.mark.parametrize(
    "name", ["run.json", "recipe.json", "folds.parquet", "predictions.parquet", "metrics.json"]
)
@pytest.mark.parametrize("damage", ["cut", pytest.param("flip", marks=sample), "empty", "another"])
def test_report_on_a_damaged_run(site: Site, run: Path, tmp_path: Path, name: str, damage: str) -> None:
    path = run / name
    data = path.read_bytes()
    middle = len(data) // 2
    damaged = {
        "cut": data[:-9],
        "flip": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :],
        "empty": b"",
        "another": (run / "provenance.json").read_bytes(),
    }[damage]
    path.write_bytes(damaged)
    assert name in refused(site, ["report", run, "--runs", tmp_path], 5, tmp_path / "log")
    assert not (run / "report.md").exists()


@sample
@pytest.mark.parametrize("name", ["fold0/weights.safetensors", "fold0/state.pt"])
def test_a_pickle_with_code_is_not_run(site: Site, run: Path, tmp_path: Path, name: str) -> None:
    """Even where its hash was recorded with it."""

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, (f"touch {tmp_path / 'attacked'}",)

    (run / name).write_bytes(pickle.dumps(Attack()))
    record_hash(run / name)
    (run / "fold0/predictions.parquet").unlink()
    (run / "metrics.json").unlink()
    continued = [*site.words("cv", tmp_path), "--name", "copy"]
    words = continued if name.endswith(".pt") else ["export", run, "--runs", tmp_path]
    if not name.endswith(".pt"):
        shutil.copy(site.folder / "whole" / "cv" / "metrics.json", run)
    refused(site, words, 5, tmp_path / "log")
    assert not (tmp_path / "attacked").exists()
