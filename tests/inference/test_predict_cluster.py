"""predict on a Ray cluster whose workers, drivers and head are killed: rows and words as in the contract."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_onnx import HEAD, tiny_onnx

from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.inference.resume import journal_path

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]
COUNT = 1600
HEAD_BYTES = 300  # more than the journal's first line, less than that and a row


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """xrays/ with many pictures, some of them cut, and a model."""
    write_model_file(tmp_path / "model.magsd", HEAD, {0: tiny_onnx(3.0)})
    (tmp_path / "xrays").mkdir()
    for number in range(COUNT):
        path = tmp_path / "xrays" / f"{number:03}.png"
        rng = np.random.default_rng(number)
        cv2.imwrite(str(path), rng.integers(0, 100 + number % 100, (300, 300), dtype=np.uint8))
        if number % 50 == 7:
            path.write_bytes(path.read_bytes()[:1000])
    return tmp_path


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that takes no tasks, and two nodes of one core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    with suppress(Exception):  # of what is dead already
        cluster.shutdown()


def start(site: Path, name: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "magsd_cli", "predict", str(site / "xrays"), "--resume"]
    command += ["--model", str(site / "model.magsd"), "--out", str(site / name), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 3) -> str:
    errors = process.communicate(timeout=900)[1]
    assert process.returncode == code, errors
    return errors


def wait_for_rows(path: Path, process: subprocess.Popen[str], more: int) -> None:
    """Until the journal has `more` bytes more than now, or at least a row; or the process ends."""
    journal = journal_path(path)
    before = journal.stat().st_size if journal.exists() else HEAD_BYTES
    deadline = time.monotonic() + 600
    while process.poll() is None and not (journal.exists() and journal.stat().st_size >= before + more):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_a_worker(process: subprocess.Popen[str]) -> None:
    """Kill one process of Ray that runs our task, with its task."""
    deadline = time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < deadline
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (folder / "cmdline").read_bytes().startswith(b"ray::shard_task"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    return


def kill_some(cluster: Any, site: Path, kills: int) -> None:
    """Workers and drivers are killed in turn; a last run ends it."""
    finish(start(site, "one.parquet", "--workers", "1"))
    more = ("--cluster", cluster.address)
    rng = np.random.default_rng(0)
    process = start(site, "t.parquet", *more)
    for kill in range(kills):
        wait_for_rows(site / "t.parquet", process, int(rng.integers(1, 15_000)))
        assert process.poll() is None, f"it ended before kill {kill}: {process.communicate()}"
        if kill % 2 == 0:
            kill_a_worker(process)
        else:
            process.kill()
            process.communicate()
            process = start(site, "t.parquet", *more)
    finish(process)
    assert (site / "t.parquet").read_bytes() == (site / "one.parquet").read_bytes()


def test_workers_and_drivers_that_die_change_no_byte(cluster: Any, site: Path) -> None:
    kill_some(cluster, site, 4)


def test_twenty_kills_change_no_byte(cluster: Any, site: Path) -> None:
    kill_some(cluster, site, 20)


def test_a_head_that_goes_away_is_said_and_the_rest_is_done_without_ray(cluster: Any, site: Path) -> None:
    finish(start(site, "one.parquet", "--workers", "1"))
    process = start(site, "t.parquet", "--cluster", cluster.address)
    wait_for_rows(site / "t.parquet", process, 1)
    cluster.head_node.kill_gcs_server(check_alive=False)
    for node in list(cluster.worker_nodes):  # they would go on for a minute without it
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    errors = finish(process, 8)
    assert "is gone; run it again to continue, with or without --cluster" in errors
    assert journal_path(site / "t.parquet").exists()
    finish(start(site, "t.parquet", "--workers", "1"))
    assert (site / "t.parquet").read_bytes() == (site / "one.parquet").read_bytes()


def test_sigterm_ends_it_as_the_contract_says(cluster: Any, site: Path) -> None:
    process = start(site, "t.parquet", "--cluster", cluster.address)
    wait_for_rows(site / "t.parquet", process, 1)
    process.terminate()
    assert "run it again to continue" in finish(process, 143)
    assert len(journal_path(site / "t.parquet").read_bytes().splitlines()) > 1
