"""--dry-run: says what would be done, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_cache import write_tiny_cache
from tiny_onnx import HEAD, tiny_onnx
from tiny_run import TRAINING_KEYS, write_xrays

from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.errors import NoInputError
from magsd_cli.inference.dry_run import dry_run as dry_predict
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.preparation.dry_run import dry_run as dry_prepare
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Preprocessing
from magsd_cli.training.dry_run import dry_run as dry_train
from magsd_cli.training.plan import RunOptions


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xrays = write_xrays(tmp_path / "xrays")
    options = PrepareOptions([xrays], tmp_path / "runs", preprocessing=Preprocessing(64), workers=1)
    before = files(tmp_path)
    dry_prepare(options)
    said = capsys.readouterr().err
    assert files(tmp_path) == before
    assert "8 files" in said
    assert "COVID-19 4, Normal 4" in said
    assert f"at most {8 * 64 * 64 / 1000:.1f} kB" in said
    prepare(options)
    dry_prepare(options)
    assert "nothing would be left to do" in capsys.readouterr().err


def test_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    xrays = write_xrays(tmp_path / "xrays")
    write_model_file(tmp_path / "model.magsd", HEAD, {0: tiny_onnx()})
    out = tmp_path / "t.parquet"
    options = PredictOptions([xrays], tmp_path / "model.magsd", tmp_path, out, resume=True, workers=1)
    before = files(tmp_path)
    dry_predict(options)
    assert files(tmp_path) == before
    assert "would score 8 files" in capsys.readouterr().err
    predict(options)
    dry_predict(options)
    said = capsys.readouterr().err
    assert "would score 0 files" in said
    assert "keep 8 rows" in said
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError):
        dry_predict(PredictOptions([tmp_path / "empty"], tmp_path / "model.magsd", tmp_path))


def test_cv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = write_tiny_cache(tmp_path / "cache", count=12)
    options = RunOptions(tmp_path, cache, load_recipe("base", TRAINING_KEYS), folds=2, device="cpu")
    before = files(tmp_path)
    state = np.random.get_state()[1].copy()
    dry_train("cv", options)
    said = capsys.readouterr().err
    assert files(tmp_path) == before
    assert (np.random.get_state()[1] == state).all()
    assert "2 networks on 12 images of 64 px, 2 classes (bright, dark)" in said
    assert "fold 1: would train on 6 images, test on 6 (bright 3, dark 3)" in said
    assert "2 epochs of 1 step" in said


def test_cv_of_a_logistic_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes no optimiser steps whose time could be measured."""
    cache = write_tiny_cache(tmp_path / "cache", count=12)
    keys = ("model.name=linear_probe", "train.step=logistic_regression", "train.epochs=1", "image.size=64",
            "model.backbone=resnet18", "model.weights=none")  # fmt: skip
    dry_train("cv", RunOptions(tmp_path, cache, load_recipe("base", keys), folds=2, device="cpu"))
    said = capsys.readouterr().err
    assert "fold 1: would train on 6 images" in said
    assert "how long a logistic regression takes is not estimated" in said
