"""export: a run's own model file, equal to torch, taken by predict from then on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from tiny_onnx import tiny_onnx
from tiny_run import KEYS, picture, write_tiny_run, write_xrays

from magsd_cli.artifacts.model_file import model_file_path, open_model_file, write_model_file
from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.export.export import deploy, export
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Preprocessing
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import train


@pytest.fixture(scope="module")
def made(made: Path) -> Path:
    """What is made for all, and new/ with three pictures that it never saw."""
    (made / "new").mkdir()
    for number in range(3):
        cv2.imwrite(str(made / "new" / f"{number}.png"), picture(300 + number))
    return made


def test_both_engines_give_the_same_rows(made: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": None, "runs": made / "runs", "device": "cpu", "workers": 1}
    files = [made / "new", made / "xrays" / "Normal" / "1.png"]
    predict(PredictOptions(inputs=files, out=tmp_path / "torch.parquet", **given))
    path = export(run=None, runs=made / "runs")
    assert path == model_file_path(made / "runs" / "tiny")
    predict(PredictOptions(inputs=files, out=tmp_path / "onnx.parquet", **given))
    tables = [read_table(tmp_path / f"{name}.parquet", PREDICTION).to_pylist() for name in ("torch", "onnx")]
    for first, second in zip(*tables, strict=True):
        assert first["p_Normal"] == pytest.approx(second["p_Normal"], abs=1e-5)
        for name in ("path", "sha256", "warnings", "predicted", "model_sha256"):
            assert first[name] == second[name]
    assert tables[1][-1]["warnings"] == ["in_training_data"]


def test_train_leaves_a_model_file_that_predict_takes_without_torch(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    xrays, size = write_xrays(tmp_path / "xrays", 10), Preprocessing(64)
    prepare(PrepareOptions([xrays], tmp_path / "runs", preprocessing=size, workers=1))
    recipe = load_recipe("base", [*KEYS, "train.epochs=1", "train.batch_size=4", "train.augment=[]"])
    given: dict[str, Any] = {"cache": None, "recipe": recipe, "runs": tmp_path / "runs", "device": "cpu"}
    monkeypatch.setattr("magsd_cli.training.run.deploy", deploy)
    with monkeypatch.context() as patch:
        patch.setattr("magsd_cli.export.export.export_network", refuse)
        run = train(RunOptions(**given))  # is no failure
    assert "has no ONNX form" in capsys.readouterr().err
    assert not model_file_path(run).exists()
    assert train(RunOptions(**given)) == run  # is continued with what is missing
    before = model_file_path(run).read_bytes()
    assert open_model_file(model_file_path(run)).operating is not None
    train(RunOptions(**given))
    assert "nothing is left to do" in capsys.readouterr().err
    assert model_file_path(run).read_bytes() == before
    assert predicts_without_torch(run, tmp_path / "xrays", tmp_path / "t.parquet")


def refuse(*_: object) -> bytes:
    raise ArtifactError("export: this network has no ONNX form")


def predicts_without_torch(run: Path, xrays: Path, out: Path) -> bool:
    words = f"inputs=[Path({str(xrays)!r})], model=Path({str(run)!r}), runs=Path('.'), out=Path({str(out)!r})"
    code = (
        "import sys; from pathlib import Path; "
        "from magsd_cli.inference.predict import PredictOptions, predict; "
        f"code = predict(PredictOptions({words}, workers=1, device='cpu')); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_file_elsewhere_is_not_overwritten_unasked(made: Path, tmp_path: Path) -> None:
    (tmp_path / "x.magsd").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        export(run=None, runs=made / "runs", out=tmp_path / "x.magsd")
    assert (tmp_path / "x.magsd").read_text() == "mine"


def test_a_model_file_of_other_networks_is_refused(tmp_path: Path) -> None:
    run = write_tiny_run(tmp_path)
    head = {
        "name": "tiny", "version": "0", "model_sha256": "0" * 64, "classes": ["a", "b"], "size": 64,
        "cache_size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {},
        "recipe_sha256": "", "trained_on": None,
    }  # fmt: skip
    write_model_file(model_file_path(run), head, {0: tiny_onnx()})
    assert open_model_file(model_file_path(run)).name == "tiny"
    with pytest.raises(ArtifactError, match="of other networks than the run's"):
        predict(
            PredictOptions(inputs=[tmp_path / "xrays"], model=run, runs=tmp_path, out=tmp_path / "t.parquet")
        )
