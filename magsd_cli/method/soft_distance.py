"""Soft distance regularization (section 3.4, Algorithm 1, eq. 5-7) and the variants of Table 8."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from magsd_cli.recipe import SoftDistance


def soft_label(logits: Tensor, targets: Tensor, settings: SoftDistance) -> Tensor:
    """Algorithm 1. P' = P where the confidence max P exceeds theta, else the ground truth; no gradient flows.

    With `replace_wrong` a confident but wrong P is replaced as well; `smoothing` s turns the one-hot truth into
    a proper distribution (1 - s on the class, s spread over the others). logits [B, K], targets [B] -> [B, K].
    """
    probabilities = logits.detach().float().softmax(1)
    classes = probabilities.shape[1]
    truth = F.one_hot(targets, classes).to(probabilities.dtype)
    if classes > 1:
        truth = truth * (1 - settings.smoothing) + (1 - truth) * settings.smoothing / (classes - 1)
    confidence, predicted = probabilities.max(1)
    keep = confidence > settings.confidence
    if settings.replace_wrong:
        keep = keep & (predicted == targets)
    return torch.where(keep[:, None], probabilities, truth)


def soft_distance(soft: Tensor, logits: Tensor, _targets: Tensor) -> Tensor:
    """Eq. 6. d'(x) = |P'(I) - p(x)|, mean over classes and batch. soft, logits [B, K] -> 0-d."""
    return (soft - logits.float().softmax(1)).abs().mean()


def l2_distance(soft: Tensor, logits: Tensor, _targets: Tensor) -> Tensor:
    """Table 8, "L2": the squared difference in place of the absolute one, mean over classes and batch."""
    return (soft - logits.float().softmax(1)).square().mean()


def view_cross_entropy(_soft: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """The views trained against the truth itself, without any soft label."""
    return F.cross_entropy(logits.float(), targets)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "soft_distance": soft_distance,
    "l2": l2_distance,
    "cross_entropy": view_cross_entropy,
}
