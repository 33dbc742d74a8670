"""`magsd train` and `magsd cv`: lock the run, train what is left of its folds, score, calibrate, export."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.model_file import model_file_path
from magsd_cli.artifacts.operating_point import operating_path, read_operating_point
from magsd_cli.artifacts.precision import PrecisionChoice, precision_words
from magsd_cli.artifacts.runs import (
    REFIT,
    REFIT_FIGURES,
    Run,
    create_run,
    fold_path,
    lock_path,
    model_sha256,
    open_run,
    run_file,
)
from magsd_cli.artifacts.tensorboard import check_tensorboard, scalars_path
from magsd_cli.console import counted, detail, noted, say
from magsd_cli.errors import Interrupted, MagsdError, UsageError
from magsd_cli.evaluation.calibrate import UNCHANGED, CalibrationTargets, calibrate_run, check_targets
from magsd_cli.evaluation.cross_validation import in_words, score
from magsd_cli.export.export import deploy
from magsd_cli.method.step import guiding_attention
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe, resolved_keys
from magsd_cli.runtime.device import choose_devices
from magsd_cli.settings import Network, Parallel
from magsd_cli.training.ddp import (
    ALONE,
    Ranks,
    check_shares,
    local_device,
    on_rank_zero,
    process_group,
    under_torchrun,
)
from magsd_cli.training.fold import sweep_state, train_fold
from magsd_cli.training.parallel.folds import train_on_cluster, train_side_by_side
from magsd_cli.training.parallel.joint import train_together
from magsd_cli.training.plan import FOLDS, Plan, RunOptions, plan
from magsd_cli.training.precision import choose_precision
from magsd_cli.training.provenance import begin_session, end_session
from magsd_cli.training.run_bar import run_bar


def train(options: RunOptions) -> Path:
    """Train a recipe on all of a cache but a held-out fifth, and test it there; return the run's folder.

    The split is the first fold of a stratified five-fold split that never splits a patient, or of the
    published folds in the CSV `splits` (the one called ``test`` where there is one). With `gpus` they share
    each batch. Started again, a run is continued; `resume` names one to continue with the recipe that it has.
    """
    return train_run("train", replace(options, folds=FOLDS, parallel=Parallel.ddp))


def cv(options: RunOptions) -> Path:
    """Cross-validate a recipe on a cache in `folds` folds; return the run's folder.

    The folds are stratified by class and never split a patient; `splits`, a CSV, gives published ones; with
    `group` "source" each fold is a source of the images (and `folds` is not used). With
    `gpus` they are trained side by side; with `parallel` "ddp" one after another, by all devices together.
    With `cluster` runs and cache must stand where the cluster sees them.
    With `refit` one more network is trained on all images; its figures are the cross-validation's.
    Started again, a run is continued; `resume` names one to continue with the recipe that it has.
    """
    if options.cluster is not None and (options.gpus is not None or options.parallel != Parallel.folds):
        raise UsageError("--cluster: Ray shares out the folds by itself; omit --gpus and --parallel")
    return train_run("cv", options)


def train_run(kind: str, options: RunOptions) -> Path:
    """Make the run that `options` ask for, or what is left of it, with a process for each device.

    At the end it is calibrated for `targets` and exported; a finished run too, where that is new. Under
    torchrun the ranks train each network together, and rank 0 alone writes the run. Returns its folder.

    Raises `LockedError` when another process makes it, `ArtifactError` when a run of that name has other
    settings, and what training raises.
    """
    devices = choose_devices("cpu" if options.cluster is not None else options.device, options.gpus)
    joint = options.parallel == Parallel.ddp
    processes = len(devices) if joint else min(len(devices), options.folds)
    planned = plan(kind, options, max(1, torch.get_num_threads() // processes))
    if options.tensorboard:
        check_tensorboard()
    with ExitStack() as stack:
        ranks = ALONE
        if under_torchrun():
            devices = [local_device(devices[0].type)]
            ranks = stack.enter_context(process_group(devices[0]))
        together = max(ranks.world, len(devices) if joint else 1)
        check_shares(planned.run.recipe, len(planned.folds), together)
        left = on_rank_zero(lambda: _begin(planned, options, devices, stack), ranks)
        planned = replace(planned, run=open_run(planned.run.path))
        if left is None:
            return planned.run.path
        try:
            _train_and_finish(planned, options, left, devices, ranks)
        finally:
            if ranks.rank == 0:
                end_session(planned.run)
    return planned.run.path


def _begin(
    planned: Plan, options: RunOptions, devices: Sequence[torch.device], stack: ExitStack
) -> list[int] | None:
    """Take the run's lock into `stack` and make or check its folder: the networks that are left to train.

    None where the run is complete (and now calibrated): there is nothing to train or to score.
    """
    run, targets = planned.run, options.targets
    check_targets(targets, run.classes)
    planned.cache.samples()  # needed at the end of each fold: if it is damaged, say so before the hours
    if not run_file(run.path).exists():
        with noted("building the network and its first weights"):
            check_network(run.recipe, len(run.classes))
    stack.enter_context(lock(lock_path(run.path)))
    if run.recipe.train.precision == "auto" and not run_file(run.path).exists():
        run = replace(run, precision=_precision(planned, options, devices[0]))
    run = create_run(run, planned.folds)
    sweep_orphans(run.path)
    for fold in run.networks:
        sweep_state(run, fold)
    left = [fold for fold in run.networks if not run.fold_is_done(fold)]
    if run.complete and not left:
        if targets == UNCHANGED and operating_path(run.path).exists() and _is_deployed(run):
            say(f"{run.path}: every fold is trained and scored; nothing is left to do", run=run.path)
        else:
            deploy(run, calibrate_run(run, targets))
        return None
    done = sum(run.fold_is_done(fold) for fold in run.trained)
    if done:
        say(
            f"{run.path}: {done} of {counted(len(run.trained), 'fold')} done already", run=run.path, done=done
        )
    for line in recipe_lines(run.recipe):
        detail(f"recipe: {line}")
    images, networks = len(planned.folds), len(left)
    say(
        f"{run.path}: {counted(images, 'image')}, {counted(networks, 'network')} to train on "
        f"{_words(devices)}",
        run=run.path,
        images=images,
        networks=networks,
        devices=[str(device) for device in devices],
    )
    if options.tensorboard:
        scalars_path(run.path).mkdir(exist_ok=True)
    begin_session(run, options.command, devices)
    return left


def recipe_lines(recipe: Recipe) -> Iterator[str]:
    """The recipe's keys with their values, a line for each section; those of no section first."""
    keys = [(*key.rpartition(".")[::2], value) for key, value in resolved_keys(recipe)]
    for section, some in groupby(sorted(keys, key=lambda one: one[0]), lambda one: one[0]):
        values = ", ".join(f"{name} {value}" for _, name, value in some)
        yield f"{section}: {values}" if section else values


def _words(devices: Sequence[torch.device]) -> str:
    if len(devices) > 1 and devices[0].type == "cpu":
        return f"the CPU in {len(devices)} processes"
    return ", ".join(str(device) for device in devices)


def _precision(planned: Plan, options: RunOptions, device: torch.device) -> PrecisionChoice:
    """Choose what train.precision=auto means for this run, on every later start and machine too."""
    if options.cluster is not None:
        choice = PrecisionChoice("fp32", "cluster", "the machines of a cluster train the folds")
    elif not planned.run.recipe.train.takes_steps:
        choice = PrecisionChoice("fp32", device.type, "a logistic regression takes no optimiser steps")
    else:
        choice = choose_precision(planned, device)
    say(f"train.precision=auto: {precision_words(choice)}")
    return choice


def _is_deployed(run: Run) -> bool:
    """Return whether the run has the model file of its folds, and of its refit network where there is one."""
    networks = Network if run.refit else [Network.folds]
    return all(model_file_path(run.path, network).exists() for network in networks)


def _train_and_finish(
    planned: Plan, options: RunOptions, left: Sequence[int], devices: Sequence[torch.device], ranks: Ranks
) -> None:
    """Train the networks that are `left` and finish the run: the cross-validation never waits for the refit.

    Side by side the refit network takes a place that the last folds leave free; else it comes after the
    cross-validation is finished. Where it fails, that is finished all the same.
    """
    together = options.cluster is not None or (options.parallel != Parallel.ddp and len(devices) > 1)
    folds = [fold for fold in left if fold != REFIT]
    rounds = [left] if together and folds else [folds, [fold for fold in left if fold == REFIT]]
    for some in rounds:
        try:
            if some:
                _train(planned, options, some, devices, ranks)
        except MagsdError as error:
            if ranks.rank == 0 and not isinstance(error, Interrupted):
                _finish(planned.run, options.targets)
            raise
        on_rank_zero(lambda: _finish(planned.run, options.targets), ranks)


def _train(
    planned: Plan, options: RunOptions, left: Sequence[int], devices: Sequence[torch.device], ranks: Ranks
) -> None:
    """Train the networks `left`: on a cluster, with other ranks, side by side or one after another."""
    run, cache = planned.run.path, planned.cache.path
    if options.cluster is not None:
        train_on_cluster(planned, left, options.cluster, options.device)
    elif options.parallel == Parallel.ddp and len(devices) > 1:
        train_together(run, cache, left, devices)
    elif len(devices) > 1 and len(left) > 1:
        train_side_by_side(planned, left, devices)
    else:
        parent = os.getppid() if ranks.world > 1 else None
        with run_bar(planned, left, ranks.world) as bar:
            for fold in left:
                train_fold(planned, fold, devices[0], parent, ranks, bar.open(fold))


def _finish(run: Run, targets: CalibrationTargets) -> None:
    """Score, calibrate and export what is trained; nothing where a fold is not."""
    if not all(run.fold_is_done(fold) for fold in run.trained):
        return
    stored = None
    if not run.complete:
        with noted(f"{run.path}: scoring"):
            figures = score(run)
        say(f"{run.path}: {in_words(figures)}", run=run.path)
    elif targets == UNCHANGED:
        stored = read_operating_point(run.path, model_sha256(run))
    if run.fold_is_done(REFIT):
        folder = fold_path(run.path, REFIT)
        say(f"{folder}: trained on all images; its figures are {REFIT_FIGURES}", folder=folder)
    deploy(run, stored or calibrate_run(run, targets))


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
