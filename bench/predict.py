"""How fast predict is, as ratios within one run: `python bench/predict.py [--images N] [--rounds N]`.

1. A folder of 1024x1024 PNGs to Parquet with ``magsd predict`` (ONNX Runtime, a process a core), in float32
   and int8, against the same network in a plain eager batch-1 loop (Pillow, CLAHE, torch), and against
   the limit: decoding alone plus inferring alone, each with a process a core. 2. The same folder with the
   network of the recipe ``cpu``, one of it and five (in int8 too), against the same loop and limit. 3. One
   cold image, against ``python -c "import torch, torchvision"``. 4. With ``--memory``: what all processes of
   one predict hold after 500 and after 5,000 images, and nothing else.

Rounds are interleaved; each figure is the median of the rounds' ratios, of the wall clock and of the CPU time
of all processes, which other load disturbs less. Start-up, measured on one image, is taken off where that is
said. The network's weights are random: they do not change how fast it is. ``taskset -c 0`` makes it one core.
``--scratch DIR`` keeps pictures and model files for the next time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("COVID-19", "Normal", "Pneumonia")

LOOP = """
import sys, numpy as np, cv2, torch
from pathlib import Path
from PIL import Image
import pyarrow as pa, pyarrow.parquet as pq
from magsd_cli.models.build import build_model
from magsd_cli.recipe import load_recipe
folder, out, backbone = sys.argv[1:]
torch.set_num_threads({threads})
recipe = load_recipe("base", ["model.weights=none", f"model.backbone={{backbone}}"])
network = build_model(recipe.model, 3, 0).eval()
rows = []
with torch.no_grad():
    for path in sorted(Path(folder).iterdir()):
        image = np.asarray(Image.open(path).convert("L").resize((224, 224), Image.Resampling.BOX))
        image = cv2.createCLAHE(4.0, (4, 4)).apply(image)
        x = torch.from_numpy(image.astype(np.float32) / 255)[None, None]
        x = (x - x.mean()) / x.std()
        rows.append(network(x).logits.softmax(1)[0].tolist())
pq.write_table(pa.table({{"p": rows}}), out)
"""

DECODE = """
import sys, time
from pathlib import Path
from magsd_cli.data.ingest import IngestTask, ingest
from magsd_cli.settings import Preprocessing
files, part = sorted(Path(sys.argv[1]).iterdir()), int(sys.argv[2])
ingest(IngestTask(files[0], Preprocessing(224)))
start, cpu = time.perf_counter(), time.process_time()
for path in files[part::{cores}]:
    ingest(IngestTask(path, Preprocessing(224)))
print(time.perf_counter() - start, time.process_time() - cpu)
"""

INFER = """
import sys, time, numpy as np
from pathlib import Path
from magsd_cli.artifacts.model_file import open_model_file, read_network
from magsd_cli.inference.onnx_engine import open_session, run_session
session = open_session(read_network(open_model_file(Path(sys.argv[1])), 0))
side = int(sys.argv[3])
image = np.zeros((1, 1, side, side), np.uint8)
run_session(session, image, False)
start, cpu = time.perf_counter(), time.process_time()
for _ in range(int(sys.argv[2])):
    run_session(session, image, False)
print(time.perf_counter() - start, time.process_time() - cpu)
"""
CORES = len(os.sched_getaffinity(0))
Seconds = tuple[float, float]  # of the wall clock, of CPU time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.scratch or Path(scratch)
        if given.memory:
            draw(folder / "small", 5000, 128)
            export(folder, "small", ["model.backbone=resnet18", "model.stages=3", "image.size=64"])
            watch_memory(folder)
            return
        draw(folder / "xrays", given.images, 1024)
        draw(folder / "one", 1, 1024)
        export(folder, "model", [f"model.backbone={given.backbone}"])
        export(folder, "cpu", [], "cpu")
        export(folder, "cpu-five", [], "cpu", networks=5)
        measure(folder, given)


def measure(folder: Path, given: argparse.Namespace) -> None:
    loop = [sys.executable, "-c", LOOP.format(threads=CORES)]
    xrays, one, part = str(folder / "xrays"), str(folder / "one"), -(-given.images // CORES)
    decode, infer = [sys.executable, "-c", DECODE.format(cores=CORES)], [sys.executable, "-c", INFER]
    fp32, int8 = str(folder / "model.magsd"), str(folder / "model-int8.magsd")
    small, five = str(folder / "cpu.magsd"), str(folder / "cpu-five.magsd")
    five_int8 = str(folder / "cpu-five-int8.magsd")
    commands: dict[str, Callable[[], Seconds]] = {
        "fp32": lambda: timed(predict(folder, fp32, xrays)),
        "loop": lambda: timed([*loop, xrays, str(folder / "loop.parquet"), given.backbone]),
        "int8": lambda: timed(predict(folder, int8, xrays)),
        "decode alone": lambda: side_by_side([[*decode, xrays, str(number)] for number in range(CORES)]),
        "infer alone": lambda: side_by_side([[*infer, fp32, str(part), "224"]] * CORES),
        "infer int8 alone": lambda: side_by_side([[*infer, int8, str(part), "224"]] * CORES),
        "infer cpu alone": lambda: side_by_side([[*infer, small, str(part), "192"]] * CORES),
        "cpu": lambda: timed(predict(folder, small, xrays)),
        "cpu five": lambda: timed(predict(folder, five, xrays)),
        "cpu five int8": lambda: timed(predict(folder, five_int8, xrays)),
        "one cpu": lambda: timed(predict(folder, small, one)),
        "one cpu five": lambda: timed(predict(folder, five, one)),
        "one cpu five int8": lambda: timed(predict(folder, five_int8, one)),
        "one": lambda: timed(predict(folder, fp32, one)),
        "one int8": lambda: timed(predict(folder, int8, one)),
        "one loop": lambda: timed([*loop, one, str(folder / "loop.parquet"), given.backbone]),
        "import": lambda: timed([sys.executable, "-c", "import torch, torchvision"]),
    }
    rounds: list[dict[str, Seconds]] = []
    for _ in range(given.rounds):
        rounds.append({name: command() for name, command in commands.items()})
        print(
            ", ".join(f"{name} {wall:.2f}/{cpu:.2f} s" for name, (wall, cpu) in rounds[-1].items()),
            flush=True,
        )

    def say(what: str, above: str, below: str) -> None:
        for kind, word in enumerate(("wall clock", "CPU time")):
            values = sorted(total(r, above, kind) / total(r, below, kind) for r in rounds)
            print(f"{what}, {word}: {statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})")

    say("fp32 against the loop, without start-up", "loop - one loop", "fp32 - one")
    say("fp32 against the loop, with start-up", "loop", "fp32")
    say("int8 against the loop, without start-up", "loop - one loop", "int8 - one int8")
    say("int8 against the loop, with start-up", "loop", "int8")
    say("fp32 against the limit", "decode alone + infer alone", "fp32 - one")
    say("int8 against the limit", "decode alone + infer int8 alone", "int8 - one int8")
    say("recipe cpu, one network, against the loop, without start-up", "loop - one loop", "cpu - one cpu")
    say(
        "recipe cpu, five networks, against the loop, without start-up",
        "loop - one loop",
        "cpu five - one cpu five",
    )
    say(
        "recipe cpu, five networks in int8, against the loop, without start-up",
        "loop - one loop",
        "cpu five int8 - one cpu five int8",
    )
    say("recipe cpu, one network, against the limit", "decode alone + infer cpu alone", "cpu - one cpu")
    say("one cold image against importing torch and torchvision", "one", "import")


def total(seconds: dict[str, Seconds], words: str, kind: int) -> float:
    """What "a + b" or "a - b" comes to; kind 0 is the wall clock, 1 the CPU time."""
    if " - " in words:
        first, second = words.split(" - ")
        return seconds[first][kind] - seconds[second][kind]
    return sum(seconds[name][kind] for name in words.split(" + "))


def predict(folder: Path, model: str, inputs: str) -> list[str]:
    """The command that scores `inputs`, on the CPU."""
    words = ["predict", inputs, "--model", model, "--device", "cpu", "--workers", str(CORES), "--overwrite"]
    return [sys.executable, "-m", "magsd_cli", *words, "--out", str(folder / "out.parquet")]


def timed(command: list[str]) -> Seconds:
    """Wall-clock and CPU seconds of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def side_by_side(commands: list[list[str]]) -> Seconds:
    """Start them together; the wall-clock seconds of the slowest, and all their CPU seconds, as they say."""
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for command in commands]
    said = [[float(word) for word in process.communicate()[0].split()] for process in started]
    return max(wall for wall, _ in said), sum(cpu for _, cpu in said)


def watch_memory(folder: Path) -> None:
    """What predict and its workers hold after 500 and after 5,000 images, in MiB."""
    command = predict(folder, str(folder / "small.magsd"), str(folder / "small"))
    journal = folder / ".out.parquet.partial"
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    held: dict[int, float] = {}
    while process.poll() is None:
        lines = journal.read_bytes().count(b"\n") if journal.exists() else 0
        for count in (500, 2500, 4900):
            if lines > count and count not in held:
                held[count] = resident(process.pid)
        time.sleep(0.05)
    print(", ".join(f"after {count} images {mebibytes:.0f} MiB" for count, mebibytes in held.items()))


def resident(pid: int) -> float:
    """The resident memory of a process and its children in MiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = [int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (pid, *children)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def draw(folder: Path, count: int, side: int) -> None:
    """Smooth pictures with film grain, which compress about as radiographs do."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05}.png"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        smooth = cv2.resize(rng.normal(128, 40, (16, 16)), (side, side), interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 3, (side, side))
        cv2.imwrite(str(path), np.clip(smooth + grain, 0, 255).astype(np.uint8))


def export(
    folder: Path, name: str, settings: list[str], recipe_name: str = "base", networks: int = 1
) -> None:
    """Write model files of random networks, in float32 and in int8."""
    from magsd_cli.artifacts.model_file import write_model_file
    from magsd_cli.export.onnx_network import export_network, quantize
    from magsd_cli.inference.torch_engine import as_it_predicts
    from magsd_cli.models.build import build_model
    from magsd_cli.recipe import load_recipe

    if (folder / f"{name}.magsd").exists():
        return
    recipe = load_recipe(recipe_name, ["model.weights=none", *settings])
    size = recipe.image.size
    network = as_it_predicts(build_model(recipe.model, len(CLASSES), 0), recipe).eval()
    images = np.random.default_rng(0).integers(0, 256, (8, 1, size, size), dtype=np.uint8)
    head = {
        "name": "bench", "version": "0", "model_sha256": "0" * 64, "classes": list(CLASSES), "size": size,
        "cache_size": size, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {}, "recipe_sha256": "",
        "trained_on": None,
    }  # fmt: skip
    exported = export_network(network, images[:2])
    quantized = dict.fromkeys(range(networks), quantize(exported, images))
    write_model_file(folder / f"{name}-int8.magsd", head | {"precision": "int8"}, quantized)
    write_model_file(folder / f"{name}.magsd", head, dict.fromkeys(range(networks), exported))


if __name__ == "__main__":
    main()
