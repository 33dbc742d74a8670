"""`magsd train` and `magsd cv`: lock the run, train what is left of its folds, score, calibrate, export."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.model_file import deployed_path
from magsd_cli.artifacts.operating_point import operating_path
from magsd_cli.artifacts.runs import Run, create_run, lock_path, open_run, run_file
from magsd_cli.artifacts.tensorboard import check_tensorboard, scalars_path
from magsd_cli.console import say
from magsd_cli.errors import UsageError
from magsd_cli.evaluation.calibrate import UNCHANGED, CalibrationTargets, calibrate_run, check_targets
from magsd_cli.evaluation.cross_validation import in_words, score
from magsd_cli.export.export import deploy
from magsd_cli.method.step import guiding_attention
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe
from magsd_cli.runtime.device import choose_devices
from magsd_cli.settings import PATIENT
from magsd_cli.training.ddp import (
    ALONE,
    Ranks,
    check_shares,
    local_device,
    on_rank_zero,
    process_group,
    under_torchrun,
)
from magsd_cli.training.fold import train_fold
from magsd_cli.training.parallel_ddp import train_together
from magsd_cli.training.parallel_folds import train_on_cluster, train_side_by_side
from magsd_cli.training.plan import Planned, plan
from magsd_cli.training.provenance import begin_session, end_session

FOLDS = 5


@dataclass(frozen=True)
class Way:
    """How several devices share the work: `parallel` is "folds" (side by side) or "ddp" (each network).

    With `cluster`, the address of a Ray cluster, the folds are tasks there, on `device`. With `tensorboard`
    they write their curves for it too.
    """

    parallel: str = "folds"
    cluster: str | None = None
    device: str = "auto"
    tensorboard: bool = False


def train_run(
    planned: Planned,
    devices: Sequence[torch.device],
    targets: CalibrationTargets = UNCHANGED,
    way: Way | None = None,
) -> Path:
    """Make the planned run, or what is left of it, with one process for each device; return its folder.

    At the end it is calibrated, for what `targets` asks, and exported; a finished run too, where that is new.
    Under torchrun the ranks train each network together, and rank 0 alone writes the run.

    Raises `LockedError` when another process makes it, `ArtifactError` when a run of that name has other
    settings, and what training raises.
    """
    way = way or Way()
    if way.tensorboard:
        check_tensorboard()
    with ExitStack() as stack:
        ranks = ALONE
        if under_torchrun():
            devices = [local_device(devices[0].type)]
            ranks = stack.enter_context(process_group(devices[0]))
        together = len(devices) if way.parallel == "ddp" else 1
        check_shares(planned[0].recipe, len(planned[2]), max(ranks.world, together))
        left = on_rank_zero(lambda: _begin(planned, devices, targets, way, stack), ranks)
        run = open_run(planned[0].path)
        if left is None:
            return run.path
        try:
            _train(run, planned, left, devices, way, ranks)
            on_rank_zero(lambda: _finish(run, targets), ranks)
        finally:
            if ranks.rank == 0:
                end_session(run)
    return run.path


def _begin(
    planned: Planned, devices: Sequence[torch.device], targets: CalibrationTargets, way: Way, stack: ExitStack
) -> list[int] | None:
    """Take the run's lock into `stack` and make or check its folder: the folds that are left to train.

    None where the run is complete (and now calibrated): there is nothing to train or to score.
    """
    run, cache, folds = planned
    check_targets(targets, run.classes)
    cache.samples()  # needed at the end of each fold: if it is damaged, say so before the hours of training
    if not run_file(run.path).exists():
        check_network(run.recipe, len(run.classes))
    stack.enter_context(lock(lock_path(run.path)))
    run = create_run(run, folds)
    sweep_orphans(run.path)
    if run.complete:
        if targets == UNCHANGED and operating_path(run.path).exists() and deployed_path(run.path).exists():
            say(f"{run.path}: every fold is trained and scored; nothing is left to do")
        else:
            deploy(run, calibrate_run(run, targets))
        return None
    left = [fold for fold in run.trained if not run.fold_is_done(fold)]
    if len(left) < len(run.trained):
        say(f"{run.path}: {len(run.trained) - len(left)} of {len(run.trained)} folds are done already")
    words = ", ".join(str(device) for device in devices)
    say(f"{run.path}: {len(folds)} images, {len(left)} networks to train on {words}")
    if way.tensorboard:
        scalars_path(run.path).mkdir(exist_ok=True)
    begin_session(run, devices)
    return left


def _train(
    run: Run,
    planned: Planned,
    left: Sequence[int],
    devices: Sequence[torch.device],
    way: Way,
    ranks: Ranks,
) -> None:
    """Train the folds that are `left`: on a cluster, with other ranks, side by side or one after another."""
    _, cache, folds = planned
    if way.cluster is not None:
        train_on_cluster(run, cache.path, left, way.cluster, way.device)
    elif way.parallel == "ddp" and len(devices) > 1:
        train_together(run.path, cache.path, left, devices)
    elif len(devices) > 1 and len(left) > 1:
        train_side_by_side(run.path, cache.path, left, devices)
    else:
        parent = os.getppid() if ranks.world > 1 else None
        for fold in left:
            train_fold(run, cache, folds, fold, devices[0], parent, ranks)


def _finish(run: Run, targets: CalibrationTargets) -> None:
    say(f"{run.path}: {in_words(score(run))}")
    deploy(run, calibrate_run(run, targets))


def check_network(recipe: Recipe, classes: int) -> None:
    """Build the recipe's network and show it a blank image: what cannot work leaves no run behind.

    Raises `UsageError` for a network that does not take the image size or has no attention to guide the
    training step with, `ArtifactError` where its ImageNet weights are missing.
    """
    model = build_model(recipe.model, classes, recipe.seed).eval()
    with torch.inference_mode():
        output = model(torch.zeros(1, 1, recipe.image.size, recipe.image.size))
    if recipe.train.step == "attention_guided" and recipe.train.augment:
        guiding_attention(output.attention, recipe)


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
    targets: CalibrationTargets = UNCHANGED,
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
    Started again, a run is continued; `resume` names one to continue with the recipe that it has. `targets`
    is what the run is calibrated for at the end, as `magsd calibrate` does it.
    """
    if cluster is not None and (gpus is not None or parallel != "folds"):
        raise UsageError("--cluster: Ray shares out the folds by itself; leave --gpus and --parallel away")
    devices = choose_devices("cpu" if cluster is not None else device, gpus)
    processes = len(devices) if parallel == "ddp" else min(len(devices), folds)
    threads = max(1, torch.get_num_threads() // processes)
    planned = plan("cv", cache, recipe, runs, name, folds, resume, threads, splits, group)
    return train_run(planned, devices, targets, Way(parallel, cluster, device, tensorboard))


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
    return train_run(planned, devices, way=Way("ddp", tensorboard=tensorboard))
