"""Soft distance regularization (section 3.4, Algorithm 1, eq. 5-7) and the variants of Table 8."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from magsd_cli.recipe import SoftDistance


def soft_label(logits: Tensor, targets: Tensor, settings: SoftDistance) -> Tensor:
    """Algorithm 1. P' = P where the confidence max P exceeds theta, else the ground truth; no gradient flows.

    With `replace_wrong` a confident but wrong P is replaced too. The truth is one-hot, or with `smoothing`
    s 1 - s of it and s spread evenly over all K classes. logits [B, K], targets [B] -> [B, K], rows sum to 1.
    """
    probabilities = logits.detach().float().softmax(1)
    classes = probabilities.shape[1]
    truth = one_hot(targets, classes) * (1 - settings.smoothing) + settings.smoothing / classes
    confidence, predicted = probabilities.max(1)
    keep = confidence > settings.confidence
    if settings.replace_wrong:
        keep = keep & (predicted == targets)
    return torch.where(keep[:, None], probabilities, truth)


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """The ground truth as vectors: int64 [B] -> float32 [B, K]. torch's own one waits for the device."""
    return (targets[:, None] == torch.arange(classes, device=targets.device)).float()


def soft_distance(soft: Tensor, logits: Tensor, _targets: Tensor) -> Tensor:
    """Eq. 6. d'(x) = |P'(I) - p(x)|, mean over classes and batch. P' and logits of p [B, K] -> 0-d.

    In [0, 2/K]. With P itself for P' this is eq. 5.
    """
    return (soft - logits.float().softmax(1)).abs().mean()


def l2_distance(_soft: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Table 8, "L2". (y - p(x))^2, mean over classes and batch: -> 0-d, in [0, 2/K].

    "L2 compared all predictions directly with ground truth" (section 4.4.5): no soft label is involved.
    """
    probabilities = logits.float().softmax(1)
    return (one_hot(targets, probabilities.shape[1]) - probabilities).square().mean()


def view_cross_entropy(_soft: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Each view's own cross-entropy, the usual way to train on augmented images: no soft label. -> 0-d."""
    return F.cross_entropy(logits.float(), targets)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "soft_distance": soft_distance,
    "l2": l2_distance,
    "cross_entropy": view_cross_entropy,
}
