"""Speed of prepare as ratios within one run: `python bench/prepare.py [--images 48] [--rounds 5]`.

`--films DIR`: the one-worker ratio alone, on the PNGs in DIR.

Shared machines are noisy, so each round measures all parts one after the other, and the figure is the median
of the rounds' ratios; what one worker does is measured in its own CPU time, in a process with a worker's
environment, against decoding alone in a plain process and in such a one. Images are 1024x1024 8-bit PNGs
drawn here: blur with film grain, which compresses about as badly as a real radiograph. Memory is the peak of
the whole `magsd prepare` process, without its workers, on some hundred small images and on ten times as many.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from magsd_cli.data.ingest import IngestTask, ingest
from magsd_cli.runtime.worker_pool import plain, run_isolated, worker_environment
from magsd_cli.settings import Preprocessing

SMALL = 300  # images at which memory is first measured


def draw(folder: Path, count: int, side: int = 1024) -> list[Path]:
    generator = np.random.default_rng(0)
    paths = []
    for name in "ab":
        (folder / name).mkdir(parents=True)
    for number in range(count):
        rough = generator.integers(30, 226, (12, 12)).astype(np.float32)
        grain = generator.normal(0, 3, (side, side)).astype(np.float32)
        picture = cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC) + grain
        path = folder / "ab"[number % 2] / f"{number}.png"
        cv2.imwrite(str(path), picture.clip(0, 255).astype(np.uint8))
        paths.append(path)
    return paths


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def decode_only(paths: list[Path]) -> None:
    for path in paths:
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)


def one_thread(paths: list[Path]) -> None:
    for path in paths:
        ingest(IngestTask(path, Preprocessing(224)))


PARTS = {"decode": decode_only, "ingest": one_thread}


def cpu(part: str, paths: list[Path], environment: dict[str, str]) -> float:
    """CPU seconds of a part in a process of its own, the first four files and the imports left out."""
    command = [sys.executable, __file__, "--part", part, *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def one_worker(paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """How much longer all that a worker does takes than decoding: each round's ratios."""
    plainly, kept = dict(os.environ), worker_environment()
    ratios: dict[str, list[float]] = {"one": [], "same": []}
    for _ in range(rounds):
        alone, same, whole = (
            cpu(part, paths, environment)
            for part, environment in (("decode", plainly), ("decode", kept), ("ingest", kept))
        )
        ratios["one"].append(alone / whole)
        ratios["same"].append(same / whole)
    return ratios


def workers(paths: list[Path], count: int) -> float:
    """Seconds an image in steady state: from the first result to the last, so without starting processes."""
    tasks = [IngestTask(path, Preprocessing(224)) for path in paths * 2]
    results = run_isolated(plain, (ingest,), tasks, lambda _task, crash: sys.exit(crash.reason), count)
    for _ in range(count):
        next(results)
    start = time.perf_counter()
    rest = sum(len(some) for some in results)
    return (time.perf_counter() - start) / rest


def peak_memory(folder: Path, count: int) -> int:
    """Most memory in MiB of one process that prepares `count` images of 256 pixels."""
    draw(folder / f"{count}", count, 256)
    places = [str(folder / f"{count}"), "--runs", str(folder / "runs")]
    command = [sys.executable, "-m", "magsd_cli", "prepare", *places]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"prepare of {count} images: exit {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss >> 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--films", type=Path, help="the one-worker ratio alone, on the PNGs in this folder")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("paths", type=Path, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.part:
        PARTS[options.part](options.paths[:4])
        print(seconds(lambda: PARTS[options.part](options.paths)))
        return
    if options.films:
        paths = sorted(options.films.glob("*.png"))[: options.images]
        show(one_worker(paths, options.rounds), len(paths), options.rounds)
        return
    from magsd_cli.artifacts.cache import open_cache
    from magsd_cli.preparation.prepare import PrepareOptions, prepare

    with tempfile.TemporaryDirectory() as folder:  # first: a child's peak begins at its parent's size
        few, many = (peak_memory(Path(folder), count) for count in (SMALL, 10 * SMALL))
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder), options.images)
        cache, _ = prepare(PrepareOptions([Path(folder)], Path(folder) / "runs"))
        ratios = one_worker(paths, options.rounds) | {"two": [], "cache": []}
        for _ in range(options.rounds):
            alone = seconds(lambda: decode_only(paths))
            ratios["two"].append(workers(paths, 1) / workers(paths, 2))
            ratios["cache"].append(alone / seconds(lambda: open_cache(cache)))
    show(ratios, options.images, options.rounds)
    print(f"memory at {SMALL} and at {10 * SMALL} images: {few} and {many} MiB")


def show(ratios: dict[str, list[float]], images: int, rounds: int) -> None:
    print(f"{images} PNGs, {rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, found in ratios.items():
        text, must = GOALS[name]
        values = sorted(found)
        print(f"{text}: {statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f}; must {must})")


GOALS = {
    "one": ("one worker, decoding alone in a plain process against all that it does", "0.85"),
    "same": ("the same against decoding alone in a worker's environment", "none"),
    "two": ("two workers against one", "1.7"),
    "cache": ("reading the cache against decoding the folder", "40"),
}

if __name__ == "__main__":
    main()
