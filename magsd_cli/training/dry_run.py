"""`magsd cv --dry-run`: what would be trained, how long it takes, how much disk. Writes nothing."""

from __future__ import annotations

import time

import torch

from magsd_cli.console import counted, in_bytes, in_time, say
from magsd_cli.models.build import parameters
from magsd_cli.runtime.device import choose_devices
from magsd_cli.settings import Parallel
from magsd_cli.training.fold import training_task
from magsd_cli.training.loop import train_step
from magsd_cli.training.plan import RunOptions, plan
from magsd_cli.training.schedule import epoch_batches, place_images
from magsd_cli.training.state import Task, TrainingState, new_state

WARM_UP, MEASURED = 1, 2  # optimiser steps
FLOAT = 4  # bytes


def dry_run(kind: str, options: RunOptions) -> None:
    """Say on stderr what `train` or `cv` (`kind`) would do with `options`.

    Builds the network once and times a few of its optimiser steps on the first device. Raises what they raise
    for a recipe, a cache or a device that cannot be.
    """
    devices = choose_devices("cpu" if options.cluster is not None else options.device, options.gpus)
    hands = 1 if options.parallel == Parallel.ddp else min(len(devices), options.folds)
    threads = max(1, torch.get_num_threads() // hands)
    planned = plan(kind, options, threads)
    run = planned.run
    networks, images = len(run.trained), len(planned.folds)
    say(
        f"would make {run.path}: {counted(networks, 'network')} on {counted(images, 'image')} of "
        f"{run.recipe.image.size} px, {len(run.classes)} classes ({', '.join(run.classes)})",
        run=run.path,
        networks=networks,
        images=images,
    )
    for fold in run.trained:
        tested = planned.folds[planned.folds["fold"] == fold]
        counts = ", ".join(f"{name} {(tested['label'] == name).sum()}" for name in run.classes)
        trained_on = len(planned.folds) - len(tested)
        say(f"fold {fold}: would train on {trained_on} images, test on {len(tested)} ({counts})", fold=fold)
    left = [fold for fold in run.trained if not run.fold_is_done(fold)]
    if not left:
        say(f"{run.path}: every fold is trained; nothing would be left to train")
        return
    if not run.recipe.train.takes_steps:
        say("how long a logistic regression takes is not estimated; nothing was written")
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        few = (WARM_UP + MEASURED) * run.recipe.train.batch_size
        task = training_task(planned, left[0], devices[0], most=few)
        state = new_state(task)
        seconds, steps = _measure(task, state)
    finally:
        torch.set_num_threads(before)
    _say_disk(state, len(left), hands)
    epochs = run.recipe.train.epochs
    total = seconds * steps * epochs * -(-len(left) // hands)
    say(
        f"would take about {in_time(total)} on {counted(hands, 'device')} ({devices[0]}): "
        f"{counted(epochs, 'epoch')} of {counted(steps, 'step')}, {seconds:.2f} s a step, estimated from "
        f"{MEASURED} steps; nothing was written",
        seconds=round(total),
    )


def _measure(task: Task, state: TrainingState) -> tuple[float, int]:
    """The seconds of one optimiser step, and the steps of an epoch."""
    settings = task.recipe.train
    batches = epoch_batches(task.labels, settings, task.recipe.seed, task.fold, 0, 1)
    images = place_images(task)
    state.model.train()
    begun = 0.0
    with torch.random.fork_rng(devices=[]):
        for step in range(WARM_UP + MEASURED):
            if step == WARM_UP:
                _wait(task.device)
                begun = time.perf_counter()
            pixels, targets = images.take(batches[step % len(batches)], task.device)
            train_step(task, state, pixels, targets, step, len(batches))
    _wait(task.device)
    return (time.perf_counter() - begun) / MEASURED, len(batches)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _say_disk(state: TrainingState, networks: int, hands: int) -> None:
    weights = parameters(state.model) * FLOAT
    kept = 2 * networks * weights  # the weights, and the same in the model file
    saved = (3 if state.average is not None else 2) * weights * hands
    say(
        f"would keep about {in_bytes(kept)} (weights and model file), {in_bytes(saved)} more while it trains",
        bytes=kept,
    )
