"""The network that is being trained with all that changes beside it, and one optimiser step."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from magsd_cli.console import OpenBar
from magsd_cli.method.classic import training_images
from magsd_cli.method.step import STEPS
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe
from magsd_cli.stages.joint import join_network, prepare_to_join
from magsd_cli.stages.ranks import ALONE, Ranks, gather
from magsd_cli.stages.schedule import AUGMENTATION, NETWORK, WEIGHTS, generator_seed, learning_rate


@dataclass(frozen=True)
class Task:
    """One fold to train: images uint8 [M,1,S,S] at the network's size, labels int64 [N], and their words.

    `rows` [N] says which of the images are trained on (None: all, N = M), so that none need be copied.
    """

    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    classes: int
    recipe: Recipe
    fold: int
    device: torch.device
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    title: str = "training"
    bar: OpenBar | None = None  # what shows the progress; None where no one looks, or others do
    ranks: Ranks = ALONE  # the processes that share each batch


@dataclass(frozen=True)
class Position:
    """Where a training stands: before `batch` of `epoch`, with its sums and the finished epochs' rows.

    sums: loss, cross-entropy, distance (each times images), images called right, images.
    """

    epoch: int = 0
    batch: int = 0
    sums: tuple[float, ...] = (0.0,) * 5
    seconds: float = 0.0
    history: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class Learner:
    """The objects that change while training. `step_model` is what a step calls: `model` itself, compiled, or
    joined with that of other processes."""

    model: nn.Module
    average: nn.Module | None
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    step_model: nn.Module
    scaler: torch.amp.GradScaler

    @property
    def result(self) -> nn.Module:
        """The network to evaluate and keep: the averaged one where there is one."""
        return self.model if self.average is None else self.average


def new_learner(task: Task) -> Learner:
    """The untrained network of a fold, and its optimiser."""
    settings = task.recipe.train
    seed = generator_seed(task.recipe.seed, task.fold, 0, WEIGHTS)
    model = build_model(task.recipe.model, task.classes, seed).to(task.device)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if task.ranks.world > 1:
        model = prepare_to_join(model, task.recipe, task.device)
    scaler = torch.amp.GradScaler(task.device.type, enabled=settings.precision == "fp16")
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=scaler.is_enabled() or None,  # the fused one skips an overflow without waiting for the device
    )
    average = copy.deepcopy(model).requires_grad_(False) if settings.weight_average > 0 else None
    compiled: nn.Module = torch.compile(model) if settings.compile else model  # type: ignore[assignment]
    step_model = join_network(compiled, task.device) if task.ranks.world > 1 else compiled
    return Learner(model, average, optimiser, torch.Generator(task.device), step_model, scaler)


def seed_generators(task: Task, learner: Learner, position: Position, state: dict[str, Any] | None) -> None:
    """Set every generator at the start of an epoch; in the middle of one, as `state` left them.

    torch's global generator is among them: dropout layers draw from it.
    """
    rank = task.ranks.rank
    if position.batch == 0:
        seed, fold, epoch = task.recipe.seed, task.fold, position.epoch
        learner.generator.manual_seed(generator_seed(seed, fold, epoch, AUGMENTATION, rank))
        torch.manual_seed(generator_seed(seed, fold, epoch, NETWORK, rank))
    elif state is not None:
        generators = [state["generators"], *state.get("generators_of_others", [])][rank]
        learner.generator.set_state(generators["augmentation"])
        torch.set_rng_state(generators["network"])
        if task.device.type == "cuda" and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], task.device)


def learn(
    task: Task,
    learner: Learner,
    pixels: torch.Tensor,
    targets: torch.Tensor,
    step: int,
    steps_per_epoch: int,
    weight: float = 1.0,
) -> torch.Tensor:
    """One optimiser step on a batch: uint8 `pixels` [B,1,S,S]. What it adds to the epoch's sums, [5].

    Where processes share a batch, `weight` corrects for shares of unequal size: their gradients are averaged.
    """
    settings = task.recipe.train
    for group in learner.optimiser.param_groups:
        group["lr"] = learning_rate(settings, step, steps_per_epoch)
    learner.optimiser.zero_grad(set_to_none=True)
    targets = targets.to(task.device, non_blocking=True)
    views = training_images(pixels.to(task.device, non_blocking=True), task.recipe, learner.generator)
    if settings.channels_last:
        views = views.contiguous(memory_format=torch.channels_last)

    def backward(loss: torch.Tensor) -> None:
        torch.autograd.backward(learner.scaler.scale(loss if weight == 1 else weight * loss))

    result = STEPS[settings.step](
        learner.step_model, views, targets, task.recipe, learner.generator, backward
    )
    learner.scaler.step(learner.optimiser)
    learner.scaler.update()
    _average_weights(learner, settings.weight_average, step)
    count = len(targets)
    parts = torch.stack([result.loss, result.cross_entropy, result.distance]).double() * count
    return torch.cat([parts, result.correct.double().reshape(1), parts.new_full((1,), count)])


@torch.no_grad()
def _average_weights(learner: Learner, decay: float, step: int) -> None:
    """Move the averaged weights and batch-norm statistics by 1 - decay towards the network's.

    The decay starts small, min(decay, (1 + step) / (10 + step)), or the random first weights would linger.
    """
    if learner.average is None:
        return
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours = learner.average.state_dict().values()
    for mean, value in zip(ours, learner.model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)


def take_state(task: Task, learner: Learner, position: Position) -> dict[str, Any]:
    """Everything that `fit` needs to go on from `position`, as plain values and tensors."""
    generators = {"augmentation": learner.generator.get_state(), "network": torch.get_rng_state()}
    if task.device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(task.device)
    own, *others = gather(generators, task.ranks)
    later = {"generators_of_others": others} if others else {}
    if learner.scaler.is_enabled():
        later["scaler"] = learner.scaler.state_dict()  # type: ignore[assignment]
    return {
        "identity": identity(task),
        "epoch": position.epoch,
        "batch": position.batch,
        "sums": list(position.sums),
        "seconds": position.seconds,
        "history": [dict(row) for row in position.history],
        "model": learner.model.state_dict(),
        "average": None if learner.average is None else learner.average.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "generators": own,
        **later,
    }


def identity(task: Task) -> dict[str, str | int]:
    """What a saved state must agree with before a training goes on from it."""
    digest = hashlib.sha256(task.labels.tobytes() + task.recipe.hash().encode())
    known: dict[str, str | int] = {
        "fold": task.fold,
        "classes": task.classes,
        "recipe_and_labels": digest.hexdigest(),
    }
    return known | ({"processes": task.ranks.world} if task.ranks.world > 1 else {})


def restore(learner: Learner, state: dict[str, Any]) -> Position:
    """Put `learner` where `state` was taken, and say where that is."""
    learner.model.load_state_dict(state["model"])
    if learner.average is not None:
        learner.average.load_state_dict(state["average"])
    learner.optimiser.load_state_dict(state["optimiser"])
    if learner.scaler.is_enabled():
        learner.scaler.load_state_dict(state["scaler"])
    history = tuple(dict(row) for row in state["history"])
    return Position(state["epoch"], state["batch"], tuple(state["sums"]), state["seconds"], history)
