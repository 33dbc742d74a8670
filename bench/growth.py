"""Rates and memory as the set grows: `python bench/growth.py [--images 40] [--times 1 10 100]`.

prepare, predict and train run on 1, 10 and 100 times as many drawn pictures. Flat is good: images/s must not
fall and the peak memory must not rise with the set. Each stage is a process of its own, its start-up is in
its time, so the smallest set looks slow; train's rate is that of its steps alone. The exponent is that of the
CPU time (of all its processes) against the size, from the set before to this one, less that of a set of four;
1 is proportional. The leak gate, all pairs of as many random hashes, grows with the square: it is measured
apart as well, and its CPU time is taken off prepare's before the exponent.
`--images 1000 --times 1 10 100 --stages prepare predict`
goes to 100,000 different pictures (about 4 GB in the temporary folder, an hour on two idle cores).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIDE = 256

TRAIN = """
import json, resource, sys, time
import numpy as np, torch
from pathlib import Path
from magsd_cli.artifacts.cache import open_cache
from magsd_cli.recipe import load_recipe
from magsd_cli.runtime.device import make_repeatable
from magsd_cli.training.loop import train_step
from magsd_cli.training.state import Task, new_state
from magsd_cli.training.schedule import epoch_batches
make_repeatable(torch.device("cpu"), 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cache = open_cache(Path(sys.argv[1]))
steps = int(sys.argv[2])
keys = ["model.backbone=resnet18", "model.weights=none", "image.size=64", "train.batch_size=8"]
recipe = load_recipe("base", keys)
task = Task(cache.images, cache.labels, 2, recipe, 0, torch.device("cpu"))
state = new_state(task)
batches = epoch_batches(task.labels, recipe.train, 0, 0, 0)
begun = None
for step in range(steps + 1):
    batch = batches[step % len(batches)]
    pixels, labels = torch.from_numpy(cache.images[batch]), torch.from_numpy(task.labels[batch])
    train_step(task, state, pixels, labels, step, steps)
    begun = begun or time.perf_counter()
rate = steps * 8 / (time.perf_counter() - begun)
print(json.dumps({"rate": rate}))
"""


GATE = """
import sys, time
import numpy as np
from magsd_cli.preparation.duplicates import near_pairs
rng = np.random.default_rng(0)
hashes = [rng.bytes(32).hex() for _ in range(int(sys.argv[1]))]
start = time.process_time()
near_pairs(hashes)
print(time.process_time() - start)
"""
FEW = 4  # images of the first set, whose time is start-up
STAGES = ("prepare", "predict", "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--steps", type=int, default=12, help="training steps of 8 images")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    given = parser.parse_args()
    print(f"{given.images} images x {given.times}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("stage    images   seconds  images/s   CPU s  exponent   MiB at the peak of its largest process")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.magsd"
        export(model)
        for count in (FEW, *(given.images * times for times in given.times)):
            work(Path(folder) / f"x{count}", count, model, given.steps, given.stages)


def work(folder: Path, count: int, model: Path, steps: int, stages: Sequence[str]) -> None:
    lay(folder / "xrays", count)
    runs, magsd = folder / "runs", [sys.executable, "-m", "magsd_cli"]
    source = str(folder / "xrays")
    if "prepare" in stages:
        gate = float(subprocess.run([sys.executable, "-c", GATE, str(count)], check=True, capture_output=True,
                                    text=True, cwd=ROOT).stdout)  # fmt: skip
        print(f"gate     {count:6} {'':19} {gate:7.1f}", flush=True)
        show("prepare", count, [*magsd, "--runs", str(runs), "prepare", source, "--size", "64"], gate)
    if "predict" in stages:
        table = str(folder / "out.parquet")
        show("predict", count, [*magsd, "predict", source, "--model", str(model), "--out", table])
    if "train" in stages and count > FEW:
        (cache,) = (runs / "cache").glob("*.h5")
        show("train", count, [sys.executable, "-c", TRAIN, str(cache), str(steps)])
    shutil.rmtree(folder)


def lay(folder: Path, count: int) -> None:
    """Pictures of film grain on a smooth ground, every file different from every other."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        ground = cv2.resize(rng.normal(128, 40, (16, 16)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        picture = ground + rng.normal(0, 3, (SIDE, SIDE))
        cv2.imwrite(str(path), np.clip(picture, 0, 255).astype(np.uint8))


_BEFORE: dict[str, list[tuple[int, float]]] = {}  # of each stage: the sets' sizes and CPU seconds so far


def exponent(stage: str, count: int, seconds: float) -> str:
    """Of the CPU time against the size, from the last set to this one."""
    known = _BEFORE.setdefault(stage, [])
    known.append((count, seconds))
    if len(known) < 3 or stage == "train":
        return ""
    start, (few, before) = known[0][1], known[-2]
    if min(before, seconds) <= start:
        return ""
    return f"{math.log((seconds - start) / (before - start)) / math.log(count / few):.2f}"


def show(stage: str, count: int, command: list[str], apart: float = 0.0) -> None:
    """Run a command in a process of its own, so that its children's peak is its alone."""
    script = (
        "import json, resource, subprocess, sys, time; start = time.monotonic(); "
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE); "
        "seconds = time.monotonic() - start; "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "facts = [used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]; "
        "words = [text.decode()[-400:] for text in (done.stdout, done.stderr)]; "
        "print(json.dumps([done.returncode, seconds, *facts, *words]))"
    )
    command = [sys.executable, "-c", script, *command]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    code, seconds, cpu, peak, words, errors = json.loads(done.stdout)
    if code:
        sys.exit(f"{stage}: exit {code}: {errors}")
    rate = json.loads(words)["rate"] if stage == "train" else count / seconds
    grown = exponent(stage, count, cpu - apart)
    print(f"{stage:8} {count:6} {seconds:9.1f} {rate:9.1f} {cpu:7.1f} {grown:>9}  {peak:6.0f}", flush=True)


def export(path: Path) -> None:
    """A model file of a small random network."""
    from magsd_cli.artifacts.model_file import write_model_file
    from magsd_cli.export.onnx_network import export_network
    from magsd_cli.models.build import build_model
    from magsd_cli.recipe import load_recipe

    recipe = load_recipe("base", ["model.weights=none", "model.backbone=resnet18", "image.size=64"])
    network = build_model(recipe.model, 2, 0).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64), dtype=np.uint8)
    head = {
        "name": "bench", "version": "0", "model_sha256": "0" * 64, "classes": ["a", "b"], "size": 64,
        "cache_size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {}, "recipe_sha256": "",
        "trained_on": None,
    }  # fmt: skip
    write_model_file(path, head, {0: export_network(network, images)})


if __name__ == "__main__":
    main()
