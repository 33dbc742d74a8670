"""predict and localize with a model file: ONNX Runtime, no torch, the same contract."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_onnx import tiny_onnx

from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.artifacts.tables import LOCALIZATION, PREDICTION, read_table
from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.data.decode import read_image
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.inference import engines
from magsd_cli.inference.engines import choose_engine
from magsd_cli.inference.model import open_model
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.localization.localize import LocalizeOptions, localize
from magsd_cli.settings import Engine, Preprocessing

SLOPES = (4.0, -1.0)
HEAD: dict[str, Any] = {
    "name": "deployed", "version": "0", "model_sha256": "a" * 64, "classes": ["COVID-19", "Normal"],
    "size": 64, "cache_size": 64, "clahe": False, "clip_limit": 4.0, "tiles": 4,
    "recipe": {"model": {"name": "magsd"}}, "recipe_sha256": "b" * 64, "trained_on": {},
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.magsd"
    write_model_file(path, HEAD, {fold: tiny_onnx(slope) for fold, slope in enumerate(SLOPES)})
    return path


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    folder = tmp_path / "xrays"
    folder.mkdir()
    for number in range(9):
        pixels = np.random.default_rng(number).integers(0, 60 + 20 * number, (70, 90), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:300])
    return folder


def rows_of(path: Path, kind: str = PREDICTION) -> list[dict[str, Any]]:
    return read_table(path, kind).to_pylist()


def expected(path: Path) -> float:
    """The probability of the first class, by hand: see tiny_onnx."""
    mean = prepare_pixels(read_image(path).pixels, Preprocessing(64, clahe=False)).mean() / 255
    return float(np.mean([1 / (1 + np.exp(-slope * (mean - 0.5))) for slope in SLOPES]))


def test_rows_are_right_and_in_order(model: Path, xrays: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    assert predict(PredictOptions(inputs=[xrays], model=model, runs=tmp_path, out=out, workers=2)) == 3
    rows = rows_of(out)
    assert [Path(row["path"]).name for row in rows] == [*(f"{k}.png" for k in range(9)), "cut.png"]
    for row in rows[:-1]:
        assert row["p_COVID-19"] == pytest.approx(expected(Path(row["path"])), abs=1e-5)
    assert rows[-1]["error_code"] == "truncated"
    assert {row["model_sha256"] for row in rows} == {"a" * 64}


def test_workers_and_resuming_change_no_bit(model: Path, xrays: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    predict(PredictOptions(inputs=[xrays], model=model, runs=tmp_path, out=one, workers=1))
    predict(PredictOptions(inputs=[xrays / "0.png"], model=model, runs=tmp_path, out=two))
    predict(PredictOptions(inputs=[xrays], model=model, runs=tmp_path, out=two, workers=3, resume=True))
    assert one.read_bytes() == two.read_bytes()


def test_a_crashing_decoder_costs_one_row(
    model: Path, xrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, magsd_cli.data.ingest as room\n"
        "real = room.ingest\n"
        "def ingest(order):\n"
        "    os.abort() if order.path.name == '4.png' else None\n"
        "    return real(order)\n"
        "room.ingest = ingest\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        predict(
            PredictOptions(inputs=[xrays], model=model, runs=tmp_path, out=tmp_path / "t.parquet", workers=2)
        )
        == 3
    )
    codes = {Path(row["path"]).name: row["error_code"] for row in rows_of(tmp_path / "t.parquet")}
    bad = {"4.png": "decoder_crashed", "cut.png": "truncated"}
    assert codes == {f"{k}.png": None for k in range(9)} | bad


def test_neither_torch_nor_pandas_is_imported(model: Path, xrays: Path, tmp_path: Path) -> None:
    """Here and in the workers: an import of torch anywhere would fail."""
    for name in ("torch", "torchvision", "pandas", "matplotlib", "sklearn", "h5py"):
        (tmp_path / "ban" / name).mkdir(parents=True)
        (tmp_path / "ban" / name / "__init__.py").write_text(f"raise RuntimeError('{name} was imported')")
    command = [sys.executable, "-m", "magsd_cli", "predict", str(xrays / "1.png"), "--model", str(model)]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "ban")}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout[:4] == b"PAR1"


def test_localize_without_torch(model: Path, xrays: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": model, "runs": tmp_path / "runs", "device": "cpu"}
    folder, code = localize(LocalizeOptions(inputs=[xrays / "1.png"], **given))
    row = rows_of(folder / "localization.parquet", LOCALIZATION)[0]
    assert code == 0
    assert row["p_COVID-19"] == pytest.approx(expected(xrays / "1.png"), abs=1e-5)
    assert row["folds"] == [0, 1]
    assert (folder / row["overlay"]).is_file()


def test_strangers_to_a_single_network_are_not_its_own_images(
    xrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model_file(tmp_path / "one.magsd", HEAD, {0: tiny_onnx(4.0)})
    localize(LocalizeOptions([xrays / "0.png"], tmp_path / "one.magsd", tmp_path / "runs"))
    assert "run's own" not in capsys.readouterr().err


def test_a_damaged_model_file_ends_with_an_artifact_error(model: Path, xrays: Path, tmp_path: Path) -> None:
    data = bytearray(model.read_bytes())
    place = data.index(b"probabilities")
    data[place] ^= 1
    model.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"fold0\.onnx"):
        predict(PredictOptions(inputs=[xrays], model=model, runs=tmp_path, out=tmp_path / "t.parquet"))
    assert not (tmp_path / "t.parquet").exists()


def test_which_engine_is_chosen(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = open_model(model, tmp_path)
    both = replace(alone, run=alone)  # type: ignore[arg-type]
    trained = replace(both, model_file=None)
    monkeypatch.setattr(engines, "_has_nvidia", lambda: False)
    assert [choose_engine(m) for m in (alone, both, trained)] == ["onnxruntime", "onnxruntime", "torch"]
    assert choose_engine(both, engine="torch") == Engine.torch
    assert choose_engine(both, device="cuda") == Engine.torch
    monkeypatch.setattr(engines, "_has_nvidia", lambda: True)
    assert [choose_engine(m) for m in (alone, both, trained)] == ["onnxruntime", "torch", "torch"]
    assert choose_engine(both, device="cpu") == Engine.onnxruntime
    assert choose_engine(both, engine="onnxruntime") == Engine.onnxruntime
    assert choose_engine(both, gpus=1) == Engine.torch


def test_engines_that_cannot_be(model: Path, tmp_path: Path) -> None:
    alone = open_model(model, tmp_path)
    for options in ({"engine": "torch"}, {"device": "cuda"}, {"gpus": 1}):
        with pytest.raises(UsageError, match="runs on the CPU"):
            choose_engine(alone, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="it runs on the CPU"):
        choose_engine(replace(alone, run=alone), engine="onnxruntime", device="cuda")  # type: ignore[arg-type]
