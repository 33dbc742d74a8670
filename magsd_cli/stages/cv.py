"""`magsd cv`: k networks, each tested on the images that it never saw."""

from __future__ import annotations

from pathlib import Path

import torch

from magsd_cli.errors import UsageError
from magsd_cli.recipe import Recipe
from magsd_cli.stages.calibrate import AS_IT_IS, Wish
from magsd_cli.stages.crossfit import Way, crossfit
from magsd_cli.stages.device import choose_devices
from magsd_cli.stages.setup import PATIENT, plan


def cv(  # noqa: PLR0913 (a command's options)
    *,
    cache: Path | None,
    recipe: Recipe | None,
    runs: Path,
    name: str | None = None,
    folds: int = 5,
    device: str = "auto",
    gpus: int | None = None,
    resume: Path | None = None,
    splits: Path | None = None,
    wish: Wish = AS_IT_IS,
    parallel: str = "folds",
    cluster: str | None = None,
    tensorboard: bool = False,
    group: str = PATIENT,
) -> Path:
    """Cross-validate `recipe` on `cache` (None: the newest) in `folds` folds; return the run's folder.

    The folds are stratified by class and never split a patient; `splits`, a CSV, gives published ones; with
    `group` "source" each fold is a source of the images (and `folds` is not used). With
    `gpus` they are trained side by side; with `parallel` "ddp" one after another, by all devices together.
    `cluster` is the address of a Ray cluster that trains them; runs and cache must stand where it sees them.
    Started again, a run is continued; `resume` names one to continue with the recipe that it has. `wish` is
    what the run is calibrated for at the end, as `magsd calibrate` does it.
    """
    if cluster is not None and (gpus is not None or parallel != "folds"):
        raise UsageError("--cluster: Ray shares out the folds by itself; leave --gpus and --parallel away")
    devices = choose_devices("cpu" if cluster is not None else device, gpus)
    processes = len(devices) if parallel == "ddp" else min(len(devices), folds)
    threads = max(1, torch.get_num_threads() // processes)
    planned = plan("cv", cache, recipe, runs, name, folds, resume, threads, splits, group)
    return crossfit(planned, devices, wish, Way(parallel, cluster, device, tensorboard))
