"""predict: one row for every input, in order; nothing lost, doubled or overwritten."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_run import picture, write_tiny_run

from magsd_cli.artifacts.cache import find_newest_cache, open_cache
from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.runs import open_run, weights_path
from magsd_cli.artifacts.tables import PREDICTION, read_table, table_metadata
from magsd_cli.errors import ArtifactError, DeviceError, LockedError, NoInputError, OutputError, UsageError
from magsd_cli.hashing import sha256_file
from magsd_cli.inference import predict as stage
from magsd_cli.inference.engines import score_one_by_one
from magsd_cli.inference.model import open_model
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.inference.resume import journal_path, open_journal, read_journal
from magsd_cli.inference.torch_engine import load_ensemble, predict_images
from magsd_cli.settings import Engine

CLASSES = ("COVID-19", "Normal")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Pictures that the run never saw, of other sizes, some of them unusable."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), picture(100 + number, 64 + 20 * number))
    (folder / "2b.png").write_bytes((folder / "2.png").read_bytes()[:500])
    (folder / "notes.txt").write_text("no picture")
    return folder


def run(inputs: list[Path], made: Path, **options: Any) -> int:
    given: dict[str, Any] = {"model": None, "runs": made / "runs", "device": "cpu", "workers": 1}
    return predict(PredictOptions(inputs=inputs, **given | options))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return read_table(path, PREDICTION).to_pylist()


def test_one_row_for_every_input_in_order(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    missing = tmp_path / "missing.png"
    assert run([missing, new, new / "0.png"], made, out=out) == 3
    rows = rows_of(out)
    names = ["0.png", "1.png", "2.png", "2b.png", "3.png", "4.png", "notes.txt"]
    assert [row["path"] for row in rows] == [str(missing), *(str(new / name) for name in names)]
    codes = {Path(row["path"]).name: row["error_code"] for row in rows if row["status"] == "error"}
    assert codes == {"missing.png": "not_found", "2b.png": "truncated", "notes.txt": "not_image"}
    for row in rows:
        ok = row["status"] == "ok"
        assert (row["predicted"] in CLASSES) == ok
        assert (row["confidence"] is not None) == ok
        if row["error_code"] != "not_found":
            assert row["sha256"] == sha256_file(Path(row["path"]))
        if ok:
            assert row["p_COVID-19"] + row["p_Normal"] == pytest.approx(1, abs=1e-6)
            assert row["confidence"] == max(row["p_COVID-19"], row["p_Normal"])


def test_a_list_names_inputs(made: Path, new: Path, tmp_path: Path, capsys: Any) -> None:
    """A file, the same again, one that is missing, a folder: rows in the list's order, from its folder on."""
    (tmp_path / "list.txt").write_text("new/1.png\nnew/1.png\nnew/missing.png\nnew\n")
    out = tmp_path / "t.parquet"
    assert run([], made, files_from=tmp_path / "list.txt", out=out) == 3
    rows = rows_of(out)
    names = ["1.png", "missing.png", "0.png", "2.png", "2b.png", "3.png", "4.png", "notes.txt"]
    assert [Path(row["path"]).name for row in rows] == names
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "ok", "error", "ok", "ok", "error"]
    assert "left out: 2 inputs that had been reached before; each file has one row" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(NoInputError, match=r"empty\.txt: no files there"):
        run([], made, files_from=tmp_path / "empty.txt", out=tmp_path / "e.parquet")
    for options in ({}, {"null": True}):
        with pytest.raises(UsageError, match="files-from"):
            run([] if not options else [new], made, **options)


def test_the_probabilities_are_the_ensembles_on_the_cached_pictures(made: Path, tmp_path: Path) -> None:
    """The same files through prepare and through predict give the same numbers: one path."""
    out = tmp_path / "t.parquet"
    assert run([made / "xrays"], made, out=out) == 0
    cache = open_cache(find_newest_cache(made / "runs")[0])
    ensemble = load_ensemble(open_run(made / "runs" / "tiny"))
    assert ensemble.folds == (0, 1)
    expected = predict_images(ensemble, cache.images, 3).probabilities
    found = {row["path"]: [row["p_COVID-19"], row["p_Normal"]] for row in rows_of(out)}
    paths = [str(made / "xrays" / name) for name in cache.image_ids]
    np.testing.assert_allclose([found[path] for path in paths], expected, atol=1e-6)


def test_files_that_come_one_by_one_get_the_same_answers(made: Path, new: Path, tmp_path: Path) -> None:
    run([new / "0.png"], made, out=tmp_path / "t.parquet")
    (row,) = rows_of(tmp_path / "t.parquet")
    model = open_model(made / "runs" / "tiny", made / "runs")
    ((answer,),) = score_one_by_one(model, Engine.torch, iter([new / "0.png"]))
    assert answer.members is not None
    assert answer.members.mean(axis=0)[0] == pytest.approx(row[f"p_{model.classes[0]}"], abs=1e-5)


def test_the_models_own_images_are_marked(
    made: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.parquet"
    run([made / "xrays", new / "0.png"], made, out=out)
    marked = ["in_training_data" in row["warnings"] for row in rows_of(out)]
    assert marked == [True] * 8 + [False]
    assert "8 files of the model's own training data" in capsys.readouterr().err


def test_metadata_says_where_the_rows_come_from(made: Path, new: Path, tmp_path: Path) -> None:
    run([new / "0.png"], made, out=tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet", PREDICTION)
    head = table_metadata(table)
    assert head["classes"] == list(CLASSES)
    assert head["model"] == "tiny"
    assert head["recipe"]["model"]["backbone"] == "resnet18"
    assert {head["model_sha256"]} == set(table["model_sha256"].to_pylist())


def test_the_newest_run_is_taken_and_said(
    made: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run([new / "0.png"], made, out=tmp_path / "t.parquet")
    said = capsys.readouterr()
    assert f"model: {made / 'runs' / 'tiny'} (the mean of 2 fold networks; the newest run" in said.err
    assert said.out == ""


def test_a_crashing_decoder_costs_one_row(
    made: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder is replaced in the workers, through a module that they import first."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, magsd_cli.data.ingest as room\n"
        "real = room.ingest\n"
        "def ingest(order):\n"
        "    os.abort() if order.path.name == '1.png' else None\n"
        "    return real(order)\n"
        "room.ingest = ingest\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert run([new], made, out=tmp_path / "t.parquet") == 3
    rows = rows_of(tmp_path / "t.parquet")
    codes = {Path(row["path"]).name: row["error_code"] for row in rows}
    assert codes == {
        "0.png": None, "1.png": "decoder_crashed", "2.png": None, "2b.png": "truncated", "3.png": None,
        "4.png": None, "notes.txt": "not_image",
    }  # fmt: skip
    crashed = next(row for row in rows if row["error_code"] == "decoder_crashed")
    assert "SIGABRT" in crashed["error"]


def test_parquet_goes_to_standard_output(made: Path, new: Path, capfdbinary: Any) -> None:
    assert run([new / "0.png", new / "1.png"], made) == 0
    table = pq.read_table(io.BytesIO(capfdbinary.readouterr().out))
    assert table["status"].to_pylist() == ["ok", "ok"]


def test_a_terminal_gets_something_readable(made: Path, new: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (new / "x\n\x1b[31m.png").write_bytes(b"")
    assert run([new], made) == 3
    shown = capsys.readouterr().out
    assert "PAR1" not in shown
    assert "\x1b[31m.png" not in shown
    assert "truncated" in shown
    assert "Not for clinical diagnosis" in shown


def test_an_existing_table_is_not_overwritten_unasked(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    out.write_text("mine")
    with pytest.raises(UsageError, match="--resume to complete it or --overwrite"):
        run([new / "0.png"], made, out=out)
    assert out.read_text() == "mine"
    assert run([new / "0.png"], made, out=out, overwrite=True) == 0
    assert len(rows_of(out)) == 1


def test_resume_scores_only_what_is_new_or_changed(
    made: Path, new: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, fresh = tmp_path / "t.parquet", tmp_path / "fresh.parquet"
    run([new / "0.png", new / "1.png", new / "3.png"], made, out=out)
    shutil.copy(new / "4.png", new / "1.png")
    assert run([new], made, out=out, resume=True) == 3
    assert "2 of 7 files scored already and unchanged" in capsys.readouterr().err
    run([new], made, out=fresh)
    first = [str(new / name) for name in ("0.png", "1.png", "3.png")]  # the table's own rows, in their order
    expected = {row["path"]: row for row in rows_of(fresh)}
    order = [*first, *(path for path in expected if path not in first)]
    assert rows_of(out) == [expected[path] for path in order]


def test_resume_with_other_inputs_keeps_every_row(made: Path, new: Path, tmp_path: Path) -> None:
    """A table is never made smaller but by --overwrite, whatever the inputs of a call are."""
    out = tmp_path / "t.parquet"
    run([new / "0.png", new / "1.png"], made, out=out)
    before = rows_of(out)
    assert run([new / "3.png"], made, out=out, resume=True) == 0
    names = ("0.png", "1.png", "3.png")
    assert [row["path"] for row in rows_of(out)] == [str(new / name) for name in names]
    assert rows_of(out)[:2] == before
    with pytest.raises(NoInputError):
        run([tmp_path / "nothing"], made, out=out, resume=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError):
        run([tmp_path / "empty"], made, out=out, resume=True)
    assert rows_of(out)[:2] == before


def test_csv_where_the_name_says_so(made: Path, new: Path, tmp_path: Path) -> None:
    run([new], made, out=tmp_path / "t.parquet")
    run([new], made, out=tmp_path / "t.CSV")
    with (tmp_path / "t.CSV").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = rows_of(tmp_path / "t.parquet")
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    assert [row["warnings"] for row in rows] == ["; ".join(row["warnings"]) for row in expected]
    for row, same in zip(rows, expected, strict=True):
        assert row["predicted"] == (same["predicted"] or "")
        if same["status"] == "ok":
            assert np.float32(row["p_Normal"]) == np.float32(same["p_Normal"])
    with pytest.raises(UsageError, match="is a CSV"):
        run([new], made, out=tmp_path / "t.CSV", resume=True)


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.json", "t.parquet.gz"])
def test_another_format_is_refused(name: str, made: Path, new: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Parquet or CSV; name it .*\.parquet or .*\.csv"):
        run([new], made, out=tmp_path / name)
    assert not (tmp_path / name).exists()


def test_own_outputs_are_no_inputs(made: Path, new: Path, tmp_path: Path) -> None:
    """A table, a model file, a log and whole runs in the folder that is read; twice."""
    shutil.copytree(new, tmp_path / "in")
    shutil.copytree(made / "runs", tmp_path / "in" / "runs")
    (tmp_path / "in" / "cron.log").write_text("predict: done\n")
    (tmp_path / "in" / "model.magsd").write_bytes(b"x")
    out = tmp_path / "in" / "t.parquet"
    code = run([tmp_path / "in"], made, out=out)
    paths = [row["path"] for row in rows_of(out)]
    assert len(paths) == len(list(new.iterdir()))
    assert run([tmp_path / "in"], made, out=out, resume=True) == code
    assert [row["path"] for row in rows_of(out)] == paths


def test_resume_of_a_complete_table_loads_no_network(
    made: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "t.parquet"
    run([new / "0.png"], made, out=out)
    before = out.read_bytes()
    monkeypatch.setattr(stage, "_score", None)
    assert run([new / "0.png"], made, out=out, resume=True) == 0
    assert out.read_bytes() == before


def test_resume_never_mixes_models(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    run([new / "0.png"], made, out=out)
    write_tiny_run(tmp_path / "other", seed=1)
    before = out.read_bytes()
    with pytest.raises(ArtifactError, match=r"rows are from model .* not .*--overwrite"):
        run([new / "0.png"], made, model=tmp_path / "other" / "runs" / "tiny", out=out, resume=True)
    assert out.read_bytes() == before


def test_resume_of_a_damaged_table_is_refused(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    run([new / "0.png"], made, out=out)
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 4
    out.write_bytes(data)
    with pytest.raises(ArtifactError, match="seal"):
        run([new / "0.png"], made, out=out, resume=True)


def test_a_killed_run_is_continued_and_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        cv2.imwrite(str(folder / f"{number:02}.png"), picture(200 + number))
    whole, out = tmp_path / "whole.parquet", tmp_path / "t.parquet"
    run([folder], made, out=whole)
    command = [
        sys.executable, "-m", "magsd_cli", "--runs", str(made / "runs"), "predict", str(folder),
        "--device", "cpu", "--out", str(out), "--workers", "1",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    model = table_metadata(read_table(whole, PREDICTION))["model_sha256"]
    while process.poll() is None and not read_journal(out, model):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = len(read_journal(out, model))
    assert not out.exists()
    assert 0 < kept < 40
    assert run([folder], made, out=out) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not journal_path(out).exists()


def test_a_second_run_on_the_same_output_is_refused_at_once(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    with lock(tmp_path / ".t.parquet.lock"), pytest.raises(LockedError):
        run([new / "0.png"], made, out=out)
    assert not out.exists()


def test_the_table_in_the_folder_that_it_is_about_is_no_input(made: Path, new: Path) -> None:
    (new / "notes.txt").unlink()
    (new / "2b.png").unlink()
    out = new / "t.parquet"
    assert run([new], made, out=out) == 0
    assert run([new], made, out=out, resume=True) == 0
    assert len(rows_of(out)) == 5


def test_without_a_usable_input_the_code_is_4(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no files there"):
        run([tmp_path / "empty"], made, out=out)
    assert not out.exists()
    with pytest.raises(NoInputError, match="2 files: none"):
        run([new / "2b.png", new / "notes.txt"], made, out=out)
    assert [row["error_code"] for row in rows_of(out)] == ["truncated", "not_image"]


def test_damaged_weights_end_with_an_artifact_error(new: Path, tmp_path: Path) -> None:
    path = write_tiny_run(tmp_path / "made")
    weights = weights_path(path, 1)
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"fold1/weights\.safetensors: content does not match"):
        run([new / "0.png"], tmp_path / "made", out=tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_an_unfinished_run_is_refused_and_no_run_is_said(new: Path, tmp_path: Path) -> None:
    path = write_tiny_run(tmp_path / "made")
    (path / "metrics.json").unlink()
    with pytest.raises(ArtifactError, match="not finished"):
        run([new / "0.png"], tmp_path / "made", model=path)
    with pytest.raises(ArtifactError, match="no finished run here"):
        run([new / "0.png"], tmp_path / "made")


def test_a_full_disk_while_rows_are_kept_is_an_output_error(
    made: Path, new: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        run([new / "0.png"], made, out=tmp_path / "t.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_a_closed_pipe_is_an_output_error(made: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        with pytest.raises(OutputError, match="standard output: Broken pipe"):
            run([new / "0.png"], made)


@pytest.mark.sample
@pytest.mark.slow
def test_a_closed_pipe_leaves_nothing_but_one_line(made: Path, new: Path) -> None:
    script = f"'{sys.executable}' -m magsd_cli --runs '{made}/runs' predict '{new}/0.png' --device cpu"
    done = subprocess.run(
        ["bash", "-c", f"{script} | true; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7
    assert "standard output: Broken pipe" in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"resume": True, "overwrite": True, "out": Path("x")}, UsageError),
        ({"resume": True}, UsageError),
        ({"overwrite": True}, UsageError),
        ({"engine": "onnxruntime"}, UsageError),  # the run has no model file
        ({"out": Path("/")}, UsageError),
        ({"device": "tpu"}, UsageError),
        ({"gpus": 64, "device": "cuda"}, DeviceError),
    ],
)
def test_options_that_cannot_be(made: Path, new: Path, options: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        run([new / "0.png"], made, **options)


def test_two_processes_on_the_cpu_give_the_same_rows(made: Path, new: Path, tmp_path: Path) -> None:
    tables = []
    for gpus in (1, 2):
        out = tmp_path / f"{gpus}.parquet"
        assert run([new], made, out=out, device="cpu", gpus=gpus) == 3
        tables.append(read_table(out, PREDICTION).to_pylist())
    for one, two in zip(*tables, strict=True):
        assert one["path"] == two["path"]
        assert one["error_code"] == two["error_code"]
        assert one["p_Normal"] == pytest.approx(two["p_Normal"], abs=1e-5)


def test_the_journal_of_another_model_is_not_taken(made: Path, new: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    with open_journal(out, "other", [{"path": str(new / "0.png"), "sha256": "0", "status": "ok"}]):
        pass
    assert run([new / "0.png"], made, out=out) == 0
