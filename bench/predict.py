"""How fast predict is, as ratios within one run: `python bench/predict.py [--images N] [--rounds N]`.

1. A folder of 1024x1024 PNGs to Parquet with ``magsd predict`` (ONNX Runtime, a process a core), against the
   same network in a plain eager batch-1 loop (Pillow, resize, CLAHE, torch), and against the limit of
   decoding and inferring alone. 2. One cold image, against ``python -c "import torch, torchvision"``.

Rounds are interleaved; each figure is the median of the rounds' ratios. Beside the wall clock stands the CPU
time of all processes, which other load on the machine disturbs less.
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
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SIZE, CLASSES = 224, ("COVID-19", "Normal", "Pneumonia")

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
import sys
from pathlib import Path
from magsd_cli.data.ingest import Order, ingest
for path in sorted(Path(sys.argv[1]).iterdir()):
    ingest(Order(path, 224, True, 4.0, 4))
"""

INFER = """
import sys, numpy as np
from pathlib import Path
from magsd_cli.artifacts.deployed import open_deployed, read_network
from magsd_cli.inference.onnx_engine import open_session, run_session
session = open_session(read_network(open_deployed(Path(sys.argv[1])), 0))
for _ in range(int(sys.argv[2])):
    run_session(session, np.zeros((1, 1, 224, 224), np.uint8), False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="resnet50")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw(folder / "xrays", given.images)
        draw(folder / "one", 1)
        export(folder / "model.magsd", given.backbone)
        measure(folder, given)


def measure(folder: Path, given: argparse.Namespace) -> None:
    model, loop = folder / "model.magsd", [sys.executable, "-c", LOOP.format(threads=os.cpu_count() or 1)]
    predict = [sys.executable, "-m", "magsd_cli", "predict", "--model", str(model), "--out"]
    commands = {
        "magsd": [*predict, str(folder / "out.parquet"), "--overwrite", str(folder / "xrays")],
        "loop": [*loop, str(folder / "xrays"), str(folder / "loop.parquet"), given.backbone],
        "decode": [sys.executable, "-c", DECODE, str(folder / "xrays")],
        "infer": [sys.executable, "-c", INFER, str(model), str(given.images)],
        "one": [*predict, str(folder / "one.parquet"), "--overwrite", str(folder / "one")],
        "import": [sys.executable, "-c", "import torch, torchvision"],
        # What it takes to start: taken off, so that a short benchmark says what a long folder gives.
        "start": [*predict, str(folder / "one.parquet"), "--overwrite", str(folder / "one")],
        "start loop": [*loop, str(folder / "one"), str(folder / "loop.parquet"), given.backbone],
    }
    rounds = []
    for _ in range(given.rounds):
        rounds.append({name: timed(command) for name, command in commands.items()})
        print(
            " ".join(f"{name} {wall:.2f}s/{cpu:.2f}s" for name, (wall, cpu) in rounds[-1].items()), flush=True
        )
    for kind, word in ((0, "wall clock"), (1, "CPU time")):
        speed = [
            (r["loop"][kind] - r["start loop"][kind]) / (r["magsd"][kind] - r["start"][kind]) for r in rounds
        ]
        cold = [r["one"][kind] / r["import"][kind] for r in rounds]
        whole = [r["loop"][kind] / r["magsd"][kind] for r in rounds]
        print(f"{word}: magsd against the loop {statistics.median(speed):.2f}x without start-up, "
              f"{statistics.median(whole):.2f}x with it; one cold image {statistics.median(cold):.2f} of "
              "importing torch and torchvision")  # fmt: skip
    limit = [(r["decode"][1] + r["infer"][1]) / r["magsd"][1] for r in rounds]
    print(f"CPU time of decoding alone plus inferring alone, against magsd: {statistics.median(limit):.2f}")


def timed(command: list[str]) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def draw(folder: Path, count: int) -> None:
    """Smooth pictures with film grain, which compress about as radiographs do."""
    folder.mkdir()
    for number in range(count):
        rng = np.random.default_rng(number)
        smooth = cv2.resize(rng.normal(128, 40, (16, 16)), (1024, 1024), interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 3, (1024, 1024))
        cv2.imwrite(str(folder / f"{number:05}.png"), np.clip(smooth + grain, 0, 255).astype(np.uint8))


def export(path: Path, backbone: str) -> None:
    """A model file of one random network; its weights do not change how fast it is."""
    from magsd_cli.artifacts.deployed import write_deployed
    from magsd_cli.inference.onnx_export import export_network
    from magsd_cli.models.build import build_model
    from magsd_cli.recipe import load_recipe

    recipe = load_recipe("base", ["model.weights=none", f"model.backbone={backbone}"])
    network = build_model(recipe.model, len(CLASSES), 0).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 1, SIZE, SIZE), dtype=np.uint8)
    head = {
        "name": "bench", "version": "0", "model_sha256": "0" * 64, "classes": list(CLASSES), "size": SIZE,
        "cache_size": SIZE, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {}, "recipe_sha256": "",
        "trained_on": None,
    }  # fmt: skip
    write_deployed(path, head, {0: export_network(network, images)})


if __name__ == "__main__":
    main()
