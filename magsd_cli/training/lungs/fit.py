"""A lung U-Net trained on films and masks; the same seed gives the same bits."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from magsd_cli.errors import DivergedError
from magsd_cli.method.zscore import z_score
from magsd_cli.models.lung_unet import LungUNet
from magsd_cli.runtime.device import (
    AUGMENTATION,
    WEIGHTS,
    generator_seed,
    keep_freed_memory,
    make_repeatable,
)

BATCH = 16
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
WARM_UP = 0.05  # of the steps
ROTATION = math.radians(15)
STRETCH = 1.3  # each side is scaled by 1 / STRETCH to STRETCH, both together and apart
SHIFT = 0.1  # of the side
GAMMA = 2.0  # 1 / GAMMA to GAMMA

Films = npt.NDArray[np.uint8]


def fit_lungs(films: Films, masks: Films, seed: int, network: int, steps: int) -> bytes:
    """Train on `films` uint8 [N,S,S] and `masks` (lung above 127) and return the weights as safetensors.

    `network` numbers networks that are trained beside each other: each has random numbers of its own. The
    loss is binary cross-entropy plus 1 - Dice; films are flipped, turned, stretched, shifted and given
    another gamma. One thread on the CPU. Raises `DivergedError` for a loss that is not finite.
    """
    device = torch.device("cpu")
    make_repeatable(device, threads=1)
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed(seed, network, 0, WEIGHTS))
        model = LungUNet().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    generator = torch.Generator().manual_seed(generator_seed(seed, network, 0, AUGMENTATION))
    pairs = torch.from_numpy(np.stack([films, masks], axis=1))
    order = torch.empty(0, dtype=torch.int64)
    model.train()
    for step in range(steps):
        while len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(pairs), generator=generator)])
        chosen, order = order[:BATCH], order[BATCH:]
        film, mask = augment(pairs[chosen].float() / 255, generator)
        loss = lung_loss(model(z_score(film)), mask)
        if not bool(loss.isfinite()):
            raise DivergedError(f"lungs train: the loss is not finite at step {step}; check the masks")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimiser.step()
        schedule.step()
    return safetensors.torch.save(model.eval().plain_weights())


def _rate(step: int, steps: int) -> float:
    """The learning rate's factor: a linear rise, then half a cosine."""
    rise = max(1.0, WARM_UP * steps)
    return min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * step / steps)))


def lung_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy plus 1 - Dice, the mean over films; logits and mask (0..1) [B, 1, S, S]."""
    probabilities = logits.sigmoid()
    both = (probabilities * mask).sum((1, 2, 3))
    each = probabilities.sum((1, 2, 3)) + mask.sum((1, 2, 3))
    dice = (2 * both + 1) / (each + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + 1 - dice.mean()


def augment(pairs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Films and masks in [0, 1], [B, 2, S, S] -> [B, 1, S, S] each, changed together; gamma the film alone.

    What comes in from beyond the film is black.
    """
    count = len(pairs)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count).uniform_(low, high, generator=generator)

    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    angle, both, apart = uniform(-ROTATION, ROTATION), uniform(-1, 1), uniform(-0.5, 0.5)
    wide, high = STRETCH ** (both + apart), STRETCH ** (both - apart)
    matrix = torch.stack(
        [
            torch.stack([flip * wide * angle.cos(), -high * angle.sin(), uniform(-2, 2) * SHIFT], 1),
            torch.stack([flip * wide * angle.sin(), high * angle.cos(), uniform(-2, 2) * SHIFT], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(pairs.shape), align_corners=False)
    moved = F.grid_sample(pairs, grid, align_corners=False)
    gamma = GAMMA ** uniform(-1, 1)
    return moved[:, :1].clamp(0, 1) ** gamma[:, None, None, None], moved[:, 1:]
