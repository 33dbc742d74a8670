"""--watch-once and the cron script of docs/cron.md: nothing lost, doubled or scored twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_onnx import HEAD, tiny_onnx

from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.errors import ArtifactError, NoInputError, OutputError, UsageError
from magsd_cli.inference import predict as stage
from magsd_cli.inference import resume
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.inference.table import store


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """model.magsd, and incoming/ with two pictures."""
    write_model_file(tmp_path / "model.magsd", HEAD, {0: tiny_onnx(3.0)})
    (tmp_path / "incoming").mkdir()
    for number in range(2):
        arrive(tmp_path, f"{number}.png", number)
    return tmp_path


def arrive(site: Path, name: str, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 90 + 30 * seed, (70, 70), dtype=np.uint8)
    path = site / "incoming" / name
    cv2.imwrite(str(path), pixels)
    return path


def watch(site: Path, **options: Any) -> int:
    given: dict[str, Any] = {"model": site / "model.magsd", "out": site / "t.parquet", "workers": 1}
    given |= {"inputs": [site / "incoming"]} | options
    return predict(PredictOptions(runs=site, watch_once=True, **given))


def rows(site: Path) -> dict[str, dict[str, Any]]:
    table = read_table(site / "t.parquet", PREDICTION).to_pylist()
    found = {Path(row["path"]).name: row for row in table}
    assert len(found) == len(table)
    return found


def test_a_year_of_passes(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[list[str]] = []
    real = stage._score

    def counted(plan: Any, files: list[Path], options: Any) -> Any:
        scored.append([path.name for path in files])
        return real(plan, files, options)

    monkeypatch.setattr(stage, "_score", counted)
    assert watch(site) == 0
    before = (site / "t.parquet").stat().st_mtime_ns
    assert watch(site) == 0  # nothing new: nothing is written
    assert (site / "t.parquet").stat().st_mtime_ns == before
    first = rows(site)["0.png"]

    (site / "incoming" / "half.png").write_bytes((site / "incoming" / "1.png").read_bytes()[:200])
    (site / "incoming" / "1.png").unlink()
    arrive(site, "0.png", 5)  # replaced
    shutil.copy(site / "incoming" / "0.png", site / "incoming" / "copy.png")
    assert watch(site) == 3
    found = rows(site)
    assert list(found) == ["0.png", "1.png", "copy.png", "half.png"]
    assert found["0.png"]["p_a"] != first["p_a"]
    assert found["copy.png"]["p_a"] == found["0.png"]["p_a"]
    assert found["half.png"]["error_code"] == "truncated"
    assert found["1.png"]["status"] == "ok"  # removed, but its row stays

    assert watch(site) == 0  # the bad file is known; it is no news
    arrive(site, "half.png", 3)
    assert watch(site) == 0
    assert rows(site)["half.png"]["status"] == "ok"
    assert scored == [["0.png", "1.png"], ["0.png", "copy.png", "half.png"], ["half.png"]]


def test_only_what_was_touched_is_read_again(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    monkeypatch.setattr(resume.time, "time_ns", lambda: now + 3600 * 10**9)
    read: list[str] = []

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return path.read_bytes()

    monkeypatch.setattr(store, "read_bytes", counted)
    assert watch(site) == 0
    assert watch(site) == 0
    assert read == []
    before = (site / "incoming" / "0.png").stat()
    arrive(site, "0.png", 5)
    os.utime(site / "incoming" / "0.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watch(site) == 0
    assert read == ["0.png"]
    (site / ".t.parquet.seen").write_text("damaged")
    assert watch(site) == 0
    assert read == ["0.png", "0.png", "1.png"]


def test_rows_in_int8_are_not_mixed_with_others(site: Path) -> None:
    assert watch(site) == 0
    write_model_file(site / "model.magsd", HEAD | {"precision": "int8"}, {0: tiny_onnx(3.0)})
    with pytest.raises(ArtifactError, match="computed, calibrated or decided differently"):
        watch(site)


def test_an_empty_folder_is_no_error_and_another_model_is(site: Path) -> None:
    for path in (site / "incoming").iterdir():
        path.unlink()
    assert watch(site) == 0
    assert rows(site) == {}
    write_model_file(site / "model.magsd", HEAD | {"model_sha256": "b" * 64}, {0: tiny_onnx(1.0)})
    with pytest.raises(ArtifactError, match="rows are from model"):
        watch(site)


def test_a_folder_that_is_not_there_is_no_row(site: Path) -> None:
    assert watch(site) == 0
    before = (site / "t.parquet").read_bytes()
    (site / "incoming").rename(site / "away")
    with pytest.raises(NoInputError, match="is the share mounted"):
        watch(site)
    (site / "incoming").symlink_to(site / "nothing")  # a link into a share that is not mounted
    with pytest.raises(NoInputError, match="is the share mounted"):
        watch(site)
    assert (site / "t.parquet").read_bytes() == before


def test_a_folder_that_cannot_be_listed_is_no_row(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stale(path: Path) -> None:
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", stale)
        with pytest.raises(NoInputError, match="Stale file handle"):
            watch(site)
    assert not (site / "t.parquet").exists()


def test_an_empty_folder_is_worth_a_warning_where_the_table_knows_it(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "other").mkdir()
    assert watch(site, inputs=[site / "other"]) == 0
    assert "share mounted" not in capsys.readouterr().err
    assert watch(site) == 0
    (site / "incoming").rename(site / "away")
    (site / "incoming").mkdir()
    assert watch(site) == 0
    assert "the table has 2 rows of files in it" in capsys.readouterr().err
    assert sorted(rows(site)) == ["0.png", "1.png"]
    (site / "other").rename(site / "other.png")
    assert watch(site, inputs=[site / "other.png"]) == 0
    assert "share mounted" not in capsys.readouterr().err
    assert sorted(rows(site)) == ["0.png", "1.png"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, whose folder takes no file")
def test_a_place_without_locks_is_not_another_run(site: Path) -> None:
    with pytest.raises(OutputError, match="no lock file can be made"):
        watch(site, out=Path("/proc/t.parquet"))


def test_options_that_do_not_go_together(site: Path) -> None:
    with pytest.raises(UsageError, match="--overwrite replaces"):
        watch(site, overwrite=True)
    with pytest.raises(UsageError, match="--watch-once: say which table"):
        watch(site, out=None)


def test_the_script_of_the_docs(site: Path) -> None:
    """The very text that people paste, with this interpreter's magsd."""
    text = (Path(__file__).parents[2] / "docs" / "cron.md").read_text()
    script = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert script is not None
    (site / "watch.sh").write_text(script[1])
    (site / "magsd").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m magsd_cli "$@"\n')
    (site / "magsd").chmod(0o755)
    command = ["sh", site / "watch.sh", site / "incoming", site / "t.parquet", site / "model.magsd"]
    environment = os.environ | {"MAGSD": str(site / "magsd")}

    def once() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    (site / "t.parquet.log").write_bytes(b"x" * 10_000_001)
    done = once()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (site / "t.parquet.log.1").stat().st_size == 10_000_001
    first = (site / "t.parquet.log").read_text().splitlines()[0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ pass", first)
    (site / "incoming" / "bad.png").write_text("no picture")
    done = once()
    assert done.returncode == 3
    assert "error row" in done.stdout
    assert list(rows(site)) == ["0.png", "1.png", "bad.png"]
    with lock(site / ".t.parquet.lock"):
        done = once()
    assert (done.returncode, done.stdout) == (0, "")
    (site / "model.magsd").write_text("damaged")
    done = once()
    assert done.returncode == 5
    assert "model.magsd" in done.stdout
