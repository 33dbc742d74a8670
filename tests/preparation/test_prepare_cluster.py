"""prepare on a Ray cluster: the same bytes as here, ids that stay in their tasks, machines that die."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pictures import dicom_bytes, encoded, noise, radiograph

from magsd_cli.errors import UsageError
from magsd_cli.preparation.prepare import PrepareOptions, prepare

KEY = "a-site-key-that-nobody-may-find-4711"
PATIENT = "DOE-JANE-0815"


def lay(folder: Path, count: int) -> Path:
    """Films of two classes, DICOM files of three patients among them, and one that cannot be read."""
    for number in range(count):
        path = folder / ("COVID-19", "Normal")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(noise(number, 96)))
    for number in range(6):
        dataset = radiograph(noise(1000 + number, 96), PatientID=f"{PATIENT}-{number // 2}")
        (folder / "Normal" / f"d{number}.dcm").write_bytes(dicom_bytes(dataset))
    (folder / "Normal" / "broken.png").write_bytes(encoded(noise(1))[:200])
    return folder


def start(source: Path, runs: Path, *given: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "magsd_cli", "--runs", str(runs), "prepare", str(source), "--size", "64"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MAGSD_SITE_KEY": KEY}
    return subprocess.Popen(
        [*command, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def made(process: subprocess.Popen[str]) -> dict[str, bytes]:
    """The files of the cache that a prepare printed, by name; one image has an error row."""
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 3, errors
    path = Path(out.strip())
    return {file.name: file.read_bytes() for file in path.parent.glob(f"{path.stem}*")}


def found_in_ray(words: list[bytes], session: Path) -> set[bytes]:
    """Which of `words` stand in a file of Ray's session (logs, spilled objects) or in an object store."""
    seen: set[bytes] = set()
    stores = [*Path("/dev/shm").glob("*"), *Path("/proc").glob("[0-9]*/fd/*")]
    shared = []
    for path in stores:
        with suppress(OSError):
            if path.parent.name != "fd" or "/dev/shm" in str(path.readlink()):
                shared.append(path)
    for path in [*session.rglob("*"), *shared]:
        with suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    while block := file.read(64 * 2**20):
                        seen |= {word for word in words if word in block}
    return seen


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that takes no tasks."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_a_cluster_shares_out_by_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="omit --workers"):
        prepare(PrepareOptions([tmp_path], tmp_path, cluster="auto", workers=2))


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
def test_the_same_bytes_as_here_and_no_id_leaves_its_task(cluster: Any, tmp_path: Path) -> None:
    """Cache and samples table are equal; the search for ids in Ray's files finds what lies there for all."""
    source = lay(tmp_path / "xrays", 150)
    here = made(start(source, tmp_path / "here"))
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    there = made(start(source, tmp_path / "there", "--cluster", cluster.address))
    assert there == here
    assert len(here) >= 2
    import ray

    ray.init(cluster.address, log_to_driver=False)
    try:
        marker = b"this-lies-in-the-object-store-0001" * 10_000
        reference = ray.put(marker)
        session = Path(ray._private.worker._global_node.get_session_dir_path())
        words = [KEY.encode(), PATIENT.encode(), marker[:34]]
        assert found_in_ray(words, session) == {marker[:34]}
        del reference
    finally:
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(1800)
def test_machines_and_drivers_that_die_change_no_byte(cluster: Any, tmp_path: Path) -> None:
    """A node dies while its shards are read, the driver is killed twice, the rest is done without Ray."""
    source = lay(tmp_path / "xrays", 1500)
    here = made(start(source, tmp_path / "here"))
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    for kill in range(3):
        process = start(source, tmp_path / "there", "--cluster", cluster.address)
        shards = tmp_path / "there" / "cache"
        deadline = time.monotonic() + 300
        while len(list(shards.glob(".work-*/*.npz"))) < 3 * (kill + 1) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if kill == 0:
            cluster.remove_node(nodes[0], allow_graceful=False)
            time.sleep(2)
        process.kill()
        process.communicate()
    assert made(start(source, tmp_path / "there")) == here
