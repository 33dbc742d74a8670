"""`train.precision = "auto"`: fp32 or bf16, measured once a run, before its first fold.

A few steps of the first fold's training are done in both, from the same first weights, on the same batches
with the same random numbers, in turns, so that a machine that gets busier is so for both. What is measured is
thrown away, and every generator is put back: a run that measured ends in the same bits as one that was told.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from magsd_cli.artifacts.precision import PrecisionChoice
from magsd_cli.runtime.device import (
    AUGMENTATION,
    NETWORK,
    describe,
    generator_seed,
    make_repeatable,
    set_tf32,
    why_no_fast_bf16,
)
from magsd_cli.training.fold import training_task
from magsd_cli.training.loop import train_step
from magsd_cli.training.plan import Plan
from magsd_cli.training.schedule import epoch_batches, place_images
from magsd_cli.training.state import Task, new_state

CANDIDATES = ("fp32", "bf16")
STEPS = 20
WARM_UP = 3  # first steps that no time is taken from: memory is fetched, kernels are chosen
LAST = 5  # last steps whose mean loss is compared: a single batch of a few images says little
TOLERANCE = 0.02  # largest relative difference of the loss from fp32's

#: One optimiser step, as `loop.train_step`.
Step = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Trial:
    """Seconds and loss of each step in one precision."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def time(self) -> float:
        """The median of a step's seconds, without the first steps where there are others."""
        return statistics.median(self.seconds[WARM_UP:] or self.seconds)

    @property
    def loss(self) -> float:
        """The mean loss of the last steps."""
        return statistics.fmean(self.losses[-LAST:])


def choose_precision(plan: Plan, device: torch.device) -> PrecisionChoice:
    """Choose the precision of the networks of `plan` on `device`: the faster, if its loss keeps to fp32's.

    fp32, and nothing is measured, where the device has no fast bf16 or no room for two networks.
    """
    reason = why_no_fast_bf16(device)
    if reason:
        return PrecisionChoice(CANDIDATES[0], describe(device), reason)
    with _settings_kept():
        make_repeatable(device, plan.threads)
        set_tf32(plan.run.recipe.train.tf32)
        try:
            trials = measure(training_task(plan, plan.run.trained[0], device))
        except torch.OutOfMemoryError:
            reason = "it ran out of memory while measuring"
        if device.type == "cuda":
            torch.cuda.empty_cache()  # other processes may be about to train there
    if reason:
        return PrecisionChoice(CANDIDATES[0], describe(device), reason)
    return judge(trials, describe(device))


def judge(trials: dict[str, Trial], device: str) -> PrecisionChoice:
    """The faster precision whose loss is within `TOLERANCE` of fp32's; fp32 where a loss is not finite."""
    full, half = (trials[name] for name in CANDIDATES)
    near = abs(half.loss - full.loss) <= TOLERANCE * abs(full.loss)  # False where one is no number
    return PrecisionChoice(
        chosen=CANDIDATES[1] if near and half.time < full.time else CANDIDATES[0],
        device=device,
        steps=len(full.losses),
        seconds={name: trial.time for name, trial in trials.items()},
        loss={name: trial.loss if math.isfinite(trial.loss) else None for name, trial in trials.items()},
    )


def measure(
    task: Task, step: Step = train_step, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Trial]:
    """Do the first `STEPS` steps of `task` in each of `CANDIDATES`, on networks of their own.

    torch's generators are as before afterwards; nothing of `task` is changed.
    """
    seed, fold = task.recipe.seed, task.fold
    trials = {name: Trial() for name in CANDIDATES}
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        tasks = {name: _in_precision(task, name) for name in CANDIDATES}
        states = {name: new_state(tasks[name]) for name in CANDIDATES}
        images = place_images(task)
        for number, (batch, steps_per_epoch) in enumerate(islice(_batches(task), STEPS)):
            for name, trial in trials.items():
                states[name].model.train()
                states[name].generator.manual_seed(generator_seed(seed, fold, number, AUGMENTATION))
                torch.manual_seed(generator_seed(seed, fold, number, NETWORK))
                begun = clock()
                pixels, targets = images.take(batch, task.device)
                sums = step(tasks[name], states[name], pixels, targets, number, steps_per_epoch)
                loss, *_, count = sums.tolist()  # waits for the device
                trial.seconds.append(clock() - begun)
                trial.losses.append(loss / count)
    return trials


def _in_precision(task: Task, name: str) -> Task:
    train = task.recipe.train.model_copy(update={"precision": name})
    return replace(task, recipe=task.recipe.model_copy(update={"train": train}), bar=None)


def _batches(task: Task) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """The batches of the training, in order, each with the number of steps of an epoch."""
    for epoch in range(task.recipe.train.epochs):
        batches = epoch_batches(task.labels, task.recipe.train, task.recipe.seed, task.fold, epoch)
        for batch in batches:
            yield batch, len(batches)


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Put back what `make_repeatable` and `set_tf32` set for a training."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    places = (
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "deterministic"),
        (convolutions, "fp32_precision"),
        (torch.backends.cuda.matmul, "fp32_precision"),
    )
    before = [(place, name, getattr(place, name)) for place, name in places]
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        for place, name, value in before:
            setattr(place, name, value)
