"""The network that is being trained with all that changes beside it, and how far it is."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from magsd_cli.console import OpenBar
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe
from magsd_cli.runtime.device import WEIGHTS, generator_seed
from magsd_cli.training.ddp import ALONE, Ranks, prepare_for_ddp, wrap_ddp


@dataclass(frozen=True)
class Task:
    """One fold to train: images uint8 [M,1,S,S] at the network's size, labels int64 [N], and their words.

    `rows` [N] says which of the images are trained on (None: all, N = M), so that none need be copied.
    `groups` are their patients [N], "" where unknown; () where all are.
    """

    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    classes: int
    recipe: Recipe
    fold: int
    device: torch.device
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    groups: tuple[str, ...] = field(default=(), repr=False)
    title: str = "training"
    bar: OpenBar | None = None  # what shows the progress; None where no one looks, or others do
    ranks: Ranks = ALONE  # the processes that share each batch


@dataclass(frozen=True)
class Progress:
    """The position of a training: before `batch` of `epoch`, with its sums and the finished epochs' rows.

    sums: loss, cross-entropy, distance (each times images), images called right, images.
    """

    epoch: int = 0
    batch: int = 0
    sums: tuple[float, ...] = (0.0,) * 5
    seconds: float = 0.0
    history: tuple[dict[str, float], ...] = ()


@dataclass(frozen=True)
class TrainingState:
    """The objects that change while training. `step_model` is what a step calls: `model` itself, compiled, or
    wrapped to share gradients with other processes."""

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


def new_state(task: Task) -> TrainingState:
    """The untrained network of a fold, and its optimiser."""
    settings = task.recipe.train
    seed = generator_seed(task.recipe.seed, task.fold, 0, WEIGHTS)
    model = build_model(task.recipe.model, task.classes, seed).to(task.device)
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if task.ranks.world > 1:
        model = prepare_for_ddp(model, task.recipe, task.device)
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
    step_model = wrap_ddp(compiled, task.device) if task.ranks.world > 1 else compiled
    return TrainingState(model, average, optimiser, torch.Generator(task.device), step_model, scaler)


def history_row(epoch: int, sums: list[float], rate: float, seconds: float) -> dict[str, float]:
    """The row of history.parquet for one epoch; `sums` are those of `Progress`."""
    loss, cross_entropy, distance, correct, count = sums
    return {
        "epoch": epoch + 1,
        "loss": loss / count,
        "cross_entropy": cross_entropy / count,
        "distance": distance / count,
        "train_share_correct": correct / count,
        "lr": rate,
        "images_per_second": count / seconds,
        "seconds": seconds,
    }
