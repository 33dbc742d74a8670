"""`magsd train`: one network, tested on the fifth of the images that it never saw."""

from __future__ import annotations

from pathlib import Path

import torch

from magsd_cli.recipe import Recipe
from magsd_cli.stages.crossfit import Way, crossfit
from magsd_cli.stages.device import choose_devices
from magsd_cli.stages.setup import plan

FOLDS = 5


def train(
    *,
    cache: Path | None,
    recipe: Recipe | None,
    runs: Path,
    name: str | None = None,
    device: str = "auto",
    gpus: int | None = None,
    resume: Path | None = None,
    splits: Path | None = None,
    tensorboard: bool = False,
) -> Path:
    """Train `recipe` on `cache` (None: the newest) but for a held-out fifth, and test it there.

    The split is the first fold of a stratified five-fold split that never splits a patient, or of the
    published folds in the CSV `splits` (the one called ``test`` where there is one). Returns the run's
    folder. With `gpus` they share each batch.
    Started again, a run is continued; `resume` names one to continue with the recipe that it has.
    """
    devices = choose_devices(device, gpus)
    threads = max(1, torch.get_num_threads() // len(devices))
    planned = plan("train", cache, recipe, runs, name, FOLDS, resume, threads, splits)
    return crossfit(planned, devices, way=Way("ddp", tensorboard=tensorboard))
