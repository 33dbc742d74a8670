"""SIGKILL at random moments of prepare: nothing half is visible, and running again gives the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, noise

from magsd_cli.artifacts.cache import open_cache


def lay(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / ("COVID-19", "Normal")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(number, 320)))
    (folder / "Normal" / "broken.png").write_bytes(encoded(noise(1))[:200])
    return folder


def command(source: Path, runs: Path) -> list[str]:
    return [sys.executable, "-m", "magsd_cli", "prepare", str(source), "--runs", str(runs), "--workers", "2"]


def check_nothing_half(runs: Path) -> None:
    """Whatever has a final name is whole."""
    for path in (runs / "cache").glob("*.h5"):
        assert len(open_cache(path).samples()) > 0


def kill_often(folder: Path, images: int, kills: int) -> None:
    source, generator = lay(folder / "xrays", images), np.random.default_rng(0)
    start = time.monotonic()
    done = subprocess.run(command(source, folder / "whole"), capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    assert done.returncode == 3, done.stderr
    whole = Path(done.stdout.strip())
    runs = folder / "killed"
    for _ in range(kills):
        process = subprocess.Popen(
            command(source, runs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(float(generator.uniform(0.2, 1.1)) * seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        check_nothing_half(runs)
    again = subprocess.run(command(source, runs), capture_output=True, text=True, check=False)
    assert again.returncode == 3, again.stderr
    path = Path(again.stdout.strip())
    assert path.name == whole.name
    assert path.read_bytes() == whole.read_bytes()
    assert not list((runs / "cache").glob(".*.tmp"))


def test_killed_twice(tmp_path: Path) -> None:
    kill_often(tmp_path, images=60, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_fifty_times(tmp_path: Path) -> None:
    for round_number in range(10):
        kill_often(tmp_path / str(round_number), images=400, kills=5)
