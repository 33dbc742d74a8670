"""What a second process gives cv: `python bench/folds.py [--folds 5] [--epochs 5] [--rounds 1]`.

The demo recipe on drawn pictures, cross-validated by one process and by two (``--gpus 2 --device cpu``), one
thread a fold in both, in turns. Prints the ratio of their times, start-up included, next to what the number
of folds allows (five folds on two processes are three turns: 1.67), and checks that both left the same folds,
weights and predictions, bit by bit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from growth import lay

SAME = ("folds.parquet", "predictions.parquet", "metrics.json", "fold*/weights.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=120)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    print(f"{given.images} images, {given.folds} folds, {given.epochs} epochs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lay(folder / "xrays", given.images)
        magsd(["--runs", folder, "prepare", folder / "xrays", "--size", 64], threads=2)
        (cache,) = (folder / "cache").glob("*.h5")
        ratios = []
        for number in range(given.rounds):
            one, two = (cross_validate(folder, cache, given, number, processes) for processes in (1, 2))
            ratios.append(one / two)
            print(f"one process {one:.1f} s, two {two:.1f} s", flush=True)
            compare(folder / f"one-{number}", folder / f"two-{number}")
    most = given.folds / -(-given.folds // 2)
    print(f"two processes are {statistics.median(ratios):.2f} times as fast as one (at most {most:.2f})")
    print("the same folds, weights and predictions, bit by bit")


def cross_validate(
    folder: Path, cache: Path, given: argparse.Namespace, number: int, processes: int
) -> float:
    """Seconds that `processes` need for all folds."""
    name = f"{('one', 'two')[processes - 1]}-{number}"
    start = time.perf_counter()
    magsd(
        [
            *("--runs", folder, "cv", "--cache", cache, "--recipe", "demo", "--folds", given.folds),
            *(
                "--set",
                f"train.epochs={given.epochs}",
                "--device",
                "cpu",
                "--gpus",
                processes,
                "--name",
                name,
            ),
        ],
        threads=processes,  # cv shares them out: one for each fold
    )
    return time.perf_counter() - start


def magsd(words: list[object], threads: int) -> None:
    command = [sys.executable, "-m", "magsd_cli", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr[-400:]}")


def compare(one: Path, two: Path) -> None:
    found = sorted(path.relative_to(one) for pattern in SAME for path in one.glob(pattern))
    if len(found) < 5:
        sys.exit(f"{one}: only {len(found)} files to compare")
    for name in found:
        if (one / name).read_bytes() != (two / name).read_bytes():
            sys.exit(f"{name} differs between one process and two")


if __name__ == "__main__":
    main()
