"""What a Ray cluster costs predict: `python bench/cluster.py [--images 2000] [--workers 1 2 4]`.

The same drawn pictures are scored by one process without Ray and on a cluster on loopback, a node of one core
for each worker. Every table must have the bytes of the first. On a machine of two cores more workers
cannot be faster: what is shown is equality and overhead. The start of the cluster is not in the seconds; that
of the driver is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from growth import export, lay

ROOT = Path(__file__).resolve().parents[1]


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
        alone = predict(folder, "alone", ["--workers", "1"])
        print(f"one process, no Ray: {alone:.1f} s, {given.images / alone:.0f} images/s", flush=True)
        whole = (folder / "alone.parquet").read_bytes()
        for workers in given.workers:
            seconds = on_cluster(folder, workers)
            same = (folder / f"{workers}.parquet").read_bytes() == whole
            print(
                f"Ray, {workers} workers: {seconds:.1f} s, {given.images / seconds:.0f} images/s, "
                f"{seconds / alone:.2f} times as long, {'the same bytes' if same else 'OTHER BYTES'}",
                flush=True,
            )


def on_cluster(folder: Path, workers: int) -> float:
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(workers):
            cluster.add_node(num_cpus=1)
        return predict(folder, str(workers), ["--cluster", cluster.address])
    finally:
        cluster.shutdown()


def predict(folder: Path, name: str, more: list[str]) -> float:
    command = [sys.executable, "-m", "magsd_cli", "predict", str(folder / "xrays"), *more]
    command += ["--model", str(folder / "model.magsd"), "--out", str(folder / f"{name}.parquet")]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"predict {' '.join(more)}: exit {done.returncode}: {done.stderr[-400:]}")
    return time.monotonic() - start


if __name__ == "__main__":
    main()
