"""The cross-entropies of a recipe's first optimiser steps on real films.

As a script: `python tests/first_steps.py base [KEY=VALUE ...]` prints them for docs/paper.md.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.recipe import Recipe, load_recipe
from magsd_cli.settings import Preprocessing
from magsd_cli.training.loop import train_step
from magsd_cli.training.resume import seed_generators
from magsd_cli.training.schedule import epoch_batches
from magsd_cli.training.state import Progress, Task, new_state

SIDE, BATCH, STEPS = 96, 16, 20
STEPS_PER_EPOCH = 45  # of one fold of the 890 films at this batch size
KEYS = (f"image.size={SIDE}", f"train.batch_size={BATCH}")


def read_films(folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """As many films of `cxr` as the steps take, evenly from its table: uint8 [N, 1, S, S], labels [N]."""
    with (folder / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = rows[:: len(rows) // (BATCH * STEPS)][: BATCH * STEPS]
    classes = sorted({row["label"] for row in rows})
    films = [np.asarray(cv2.imread(str(folder / row["path"]), 0), np.uint8) for row in rows]
    images = np.stack([prepare_pixels(film, Preprocessing(SIDE)) for film in films])[:, None]
    return images, np.array([classes.index(row["label"]) for row in rows], np.int64)


def first_losses(
    recipe: Recipe, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], seed: int = 0
) -> list[float]:
    """The primary view's cross-entropy at each step, before the step is taken."""
    task = Task(images, labels, int(labels.max()) + 1, recipe, seed, torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        state = new_state(task)
        seed_generators(task, state, Progress(), None)
        state.model.train()
        losses = []
        for step, batch in enumerate(epoch_batches(labels, recipe.train, 0, seed, 0)[:STEPS]):
            pixels, targets = torch.from_numpy(images[batch]), torch.from_numpy(labels[batch])
            sums = train_step(task, state, pixels, targets, step, STEPS_PER_EPOCH)
            losses.append(float(sums[1] / sums[4]))
    return losses


if __name__ == "__main__":
    name, *changes = sys.argv[1:]
    films = read_films(Path(__file__).resolve().parents[2] / "shared" / "data" / "cxr")
    chosen = load_recipe(name, [*KEYS, *changes])
    print(" ".join(f"{loss:.2f}" for loss in first_losses(chosen, *films)))
