"""What a Ray cluster costs prepare and predict: `python bench/cluster.py [--images 2000] [--workers 1 2 4]`.

The same drawn pictures are prepared and scored by one process without Ray and on a cluster on loopback, a
node of one core for each worker. Caches and tables must have the bytes of the first.
On a machine of two cores more workers cannot be faster: what is shown is equality and overhead. The start of
the cluster is not in the seconds; that of the driver is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from growth import export, lay

from magsd_cli.hashing import sha256_file

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("prepare", "predict")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    given = parser.parse_args()
    print(f"{given.images} images, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay(folder / "xrays", given.images)
        export(folder / "model.magsd")
        alone, whole = work(folder, "alone", ["--workers", "1"])
        print(f"one process, no Ray: {in_words(alone, given.images)}", flush=True)
        for workers in given.workers:
            seconds, made = on_cluster(folder, workers)
            longer = " and ".join(f"{seconds[name] / alone[name]:.2f}" for name in STAGES)
            print(
                f"Ray, {workers} workers: {in_words(seconds, given.images)}; {longer} times as long, "
                f"{'the same bytes' if made == whole else 'OTHER BYTES'}",
                flush=True,
            )


def in_words(seconds: dict[str, float], images: int) -> str:
    return ", ".join(f"{name} {took:.1f} s ({images / took:.0f} images/s)" for name, took in seconds.items())


def on_cluster(folder: Path, workers: int) -> tuple[dict[str, float], dict[str, str]]:
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        return work(folder, str(workers), ["--cluster", cluster.address])
    finally:
        cluster.shutdown()


def work(folder: Path, name: str, more: list[str]) -> tuple[dict[str, float], dict[str, str]]:
    """Prepare and predict: the seconds of each, and the SHA-256 of every file that they made."""
    place = folder / name
    model, table = str(folder / "model.magsd"), str(place / "table.parquet")
    seconds = {
        "prepare": run("prepare", folder, "--runs", str(place), "--size", "64", *more),
        "predict": run("predict", folder, "--model", model, "--out", table, *more),
    }
    made = [place / "table.parquet", *sorted((place / "cache").glob("[!.]*"))]
    hashes = {path.name: sha256_file(path) for path in made}
    shutil.rmtree(place)
    return seconds, hashes


def run(command: str, folder: Path, *more: str) -> float:
    start = time.monotonic()
    line = [sys.executable, "-m", "magsd_cli", command, str(folder / "xrays"), *more]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command} {' '.join(more)}: exit {done.returncode}: {done.stderr[-400:]}")
    return time.monotonic() - start


if __name__ == "__main__":
    main()
