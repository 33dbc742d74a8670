"""Faults while predict works: kills, a full disk, overlapping starts. Nothing is lost, doubled or half.

Each kind once is a sample that CI runs; the others are many repetitions.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_onnx import HEAD, tiny_onnx

from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.inference.resume import journal_path

pytestmark = pytest.mark.slow  # CI runs those that are a sample as well
COUNT = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """xrays/ with many pictures and bad files, a model, and the table that nothing disturbed."""
    folder = tmp_path_factory.mktemp("site")
    write_model_file(folder / "model.magsd", HEAD, {0: tiny_onnx(3.0)})
    (folder / "xrays").mkdir()
    for number in range(COUNT):
        path = folder / "xrays" / f"{number:03}.png"
        pixels = np.random.default_rng(number).integers(0, 100 + number, (400, 400), dtype=np.uint8)
        cv2.imwrite(str(path), pixels)
        if number % 10 == 7:
            path.write_bytes(path.read_bytes()[:1000])
    predict(
        PredictOptions(
            inputs=[folder / "xrays"], model=folder / "model.magsd", runs=folder, out=folder / "whole.parquet"
        )
    )
    return folder


def start(site: Path, out: Path, *options: str, limit: int | None = None) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "magsd_cli", "predict", str(site / "xrays"),
        "--model", str(site / "model.magsd"), "--out", str(out), *options,
    ]  # fmt: skip

    def small_disk() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        preexec_fn=small_disk,  # noqa: PLW1509 (no thread here holds a lock)
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    error = process.communicate(timeout=120)[1]
    return process.returncode, error


def run_until_done(site: Path, out: Path) -> None:
    code, error = finish(start(site, out, "--resume"))
    assert code == 3, error
    assert out.read_bytes() == (site / "whole.parquet").read_bytes()
    assert not journal_path(out).exists()
    assert [path.name for path in out.parent.iterdir() if path.suffix == ".tmp"] == []


def kill_some(site: Path, out: Path, number: int, kills: int, seed: int) -> None:
    """Start and send `number` at random moments, `kills` times; whatever happened, a last run ends it."""
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        process = start(site, out, "--resume")
        time.sleep(float(rng.uniform(0, 2.5)))
        process.send_signal(number)
        code, _ = finish(process)
        assert code in (3, -number, 128 + number)
        if out.exists():
            assert len(read_table(out, PREDICTION)) == COUNT
    run_until_done(site, out)


@pytest.mark.sample
def test_killed_a_few_times(site: Path, tmp_path: Path) -> None:
    kill_some(site, tmp_path / "t.parquet", signal.SIGKILL, 2, 0)


def test_killed_fifty_times(site: Path, tmp_path: Path) -> None:
    for seed in range(10):
        folder = tmp_path / str(seed)
        folder.mkdir()
        kill_some(site, folder / "t.parquet", signal.SIGKILL if seed % 2 else signal.SIGTERM, 5, seed)


@pytest.mark.sample
def test_terminated_it_says_so_and_leaves_no_process(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    process = start(site, out)
    while not journal_path(out).exists():
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    code, error = finish(process)
    assert code == 143
    assert "run it again to continue" in error
    assert not out.exists()
    deadline = time.monotonic() + 30  # a worker that was just being born notices a moment later
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run_until_done(site, out)


def full_disk(site: Path, out: Path, limit: int) -> None:
    """With room for `limit` bytes a file: the promised code, the old table as it was, nothing half."""
    out.write_bytes(b"the old one")
    code, error = finish(start(site, out, "--overwrite", limit=limit))
    assert code in (3, 7), error
    if code == 7:
        assert out.read_bytes() == b"the old one"
        assert "File too large" in error
        assert error.count("magsd: error") == 1
    code, error = finish(start(site, out, "--overwrite"))
    assert code == 3, error
    assert out.read_bytes() == (site / "whole.parquet").read_bytes()


@pytest.mark.sample
@pytest.mark.parametrize("limit", [0, 4000])
def test_a_full_disk(site: Path, tmp_path: Path, limit: int) -> None:
    full_disk(site, tmp_path / "t.parquet", limit)


@pytest.mark.parametrize("limit", [1, 80, 500, 2000, 6000, 9000, 12000, 16000, 20000, 30000])
def test_a_full_disk_at_many_offsets(site: Path, tmp_path: Path, limit: int) -> None:
    full_disk(site, tmp_path / "t.parquet", limit)


def overlapping(site: Path, out: Path, starts: int) -> None:
    processes = [start(site, out, "--resume") for _ in range(starts)]
    codes = [finish(process)[0] for process in processes]
    assert set(codes) <= {3, 6}
    assert 3 in codes
    assert out.read_bytes() == (site / "whole.parquet").read_bytes()


@pytest.mark.sample
def test_overlapping_starts(site: Path, tmp_path: Path) -> None:
    overlapping(site, tmp_path / "t.parquet", 3)


def test_twenty_overlapping_starts(site: Path, tmp_path: Path) -> None:
    overlapping(site, tmp_path / "t.parquet", 20)


@pytest.mark.sample
def test_a_folder_that_is_a_file_cannot_be_written(site: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, error = finish(start(site, tmp_path / "file" / "t.parquet"))
    assert code == 7
    assert error.count("\n") == 1


@pytest.mark.sample
def test_a_worker_that_is_killed_costs_nothing(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    process = start(site, out, "--workers", "1")
    while not journal_path(out).exists() and process.poll() is None:
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for child in children.read_text().split() if children.exists() else []:
        os.kill(int(child), signal.SIGKILL)
    code, error = finish(process)
    assert code == 3, error
    assert out.read_bytes() == (site / "whole.parquet").read_bytes()
