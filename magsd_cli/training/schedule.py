"""Learning rate and order of the images, as pure functions of where the training stands; where they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from magsd_cli.recipe import Train
from magsd_cli.runtime.device import fold_seed
from magsd_cli.training.state import Task

Integers = npt.NDArray[np.int64]


def learning_rate(settings: Train, step: int, steps_per_epoch: int) -> float:
    """The rate of optimiser step `step`, counted from 0 over the whole training.

    The first `warmup_epochs` rise linearly to `lr`, reached at their last step. Then `multistep` multiplies
    by `lr_gamma` from each epoch `milestone * epochs` on, `cosine` falls to 0, and `constant` stays.
    """
    warmup = min(settings.warmup_epochs, settings.epochs) * steps_per_epoch
    total = settings.epochs * steps_per_epoch
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    if settings.schedule == "multistep":
        epoch = step // steps_per_epoch
        passed = sum(epoch >= share * settings.epochs - 1e-9 for share in settings.milestones)
        return settings.lr * settings.lr_gamma**passed
    return settings.lr


def epoch_batches(
    labels: Integers, settings: Train, seed: int, fold: int, epoch: int, ranks: int = 1
) -> list[Integers]:
    """Positions in `labels` [N] for each batch of one epoch; the same arguments give the same batches.

    `shuffle` takes every image once; `balanced` draws as many images, equally many of each class, by going
    through each class's images again and again in new orders. A last batch of one image joins the one before
    it: batch norm cannot learn from a single image. So does one of less than two for each
    of `ranks` processes.
    """
    rng = np.random.default_rng([seed, fold_seed(fold), epoch])
    balanced = settings.sampling == "balanced"
    order = _balanced(labels, rng) if balanced else rng.permutation(len(labels))
    cuts = list(range(settings.batch_size, len(order), settings.batch_size))
    if settings.batch_size > 1 and cuts and len(order) - cuts[-1] < 2 * ranks:
        cuts.pop()
    return np.split(order, cuts)


def _balanced(labels: Integers, rng: np.random.Generator) -> Integers:
    members = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    each = math.ceil(len(labels) / len(members))
    drawn = []
    for positions in members:
        rounds = math.ceil(each / len(positions))
        drawn.append(np.concatenate([rng.permutation(positions) for _ in range(rounds)])[:each])
    return rng.permutation(np.concatenate(drawn))[: len(labels)]


@dataclass(frozen=True)
class PlacedImages:
    """All images where a batch is taken from: uint8 `images` [M,1,S,S], `rows` [N] of them, `labels` [N]."""

    images: torch.Tensor
    rows: torch.Tensor
    labels: torch.Tensor

    def take(self, batch: Integers, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels uint8 [B,1,S,S] and labels [B] at the positions `batch` [B], on their way to `device`."""
        chosen = _pinned(torch.from_numpy(batch), device).to(self.images.device, non_blocking=True)
        return _pinned(self.images[self.rows[chosen]], device), _pinned(self.labels[chosen], device)


def place_images(task: Task) -> PlacedImages:
    """The images of a training: on the GPU if those to train on fit, else where they are."""
    labels, images = torch.from_numpy(task.labels), torch.from_numpy(task.images)
    rows = torch.arange(len(labels)) if task.rows is None else torch.from_numpy(task.rows)
    if task.device.type != "cuda" or len(rows) * images[0].nbytes > _room(task.device):
        return PlacedImages(images, rows, labels)
    home = task.device
    return PlacedImages(images[rows].to(home), torch.arange(len(rows), device=home), labels.to(home))


def _room(device: torch.device) -> int:
    """Return how many bytes of images may stay on a GPU: a quarter of what is free; the network needs the
    rest.
    """
    free, _ = torch.cuda.mem_get_info(device)
    return free // 4


def _pinned(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` in memory from which a copy to a GPU does not hold up the host."""
    return values.pin_memory() if device.type == "cuda" and values.device.type == "cpu" else values
