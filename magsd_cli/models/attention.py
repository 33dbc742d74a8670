"""Multiscale attention maps (section 3.2.2, Fig. 3) and attention pooling (section 3.2.3, eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.recipe import Model


class AttentionBranch(nn.Module):
    """One scale of Fig. 3: a 1x1 convolution, then (NOTES.md) batch norm and ReLU."""

    def __init__(self, channels: int, maps: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, 1, bias=False)
        self.norm = nn.BatchNorm2d(maps, eps=eps)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> maps [B, M, h, w], not negative."""
        return F.relu(self.norm(self.conv(features)))


def attention_branches(channels: Sequence[int], settings: Model) -> nn.ModuleList:
    """A branch for each of the coarsest `settings.scales` of the features, whose widths are `channels`."""
    return nn.ModuleList(
        AttentionBranch(width, settings.attention_maps, settings.attention_norm_eps)
        for width in channels[-settings.scales :]
    )


def multiscale_attention(branches: nn.ModuleList, features: Sequence[Tensor], how: str) -> Tensor:
    """Fig. 3: A, the maps of the coarsest one, two or three scales, brought to the size of f3 and added.

    `features` finest first, [B, C_i, h_i, w_i] -> [B, M, h, w], not negative, of the last one's h and w.
    """
    height, width = features[-1].shape[-2:]
    used = zip(branches, features[-len(branches) :], strict=True)
    return torch.stack([downsample(branch(f), (height, width), how) for branch, f in used]).sum(0)


def downsample(maps: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """Maps [B, M, H, W] brought to `size` (Fig. 3, "Downsample"): `average`, `max` or `bilinear`.

    `average` takes the mean of the pixels under each new one.
    """
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    if how == "average" and height % size[0] == 0 and width % size[1] == 0:
        return F.avg_pool2d(maps, (height // size[0], width // size[1]))  # deterministic on CUDA as well
    if how == "average":
        return F.adaptive_avg_pool2d(maps, size)
    if how == "max":
        return F.adaptive_max_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def attention_pooling(features: Tensor, attention: Tensor) -> Tensor:
    """Eq. 1. PF_j = A_j * f3, each averaged over its pixels; one batched product, no part map is stored.

    features [B, C, h, w], attention [B, M, h, w] -> [B, M * C], map by map.
    """
    pixels = features.shape[2] * features.shape[3]
    parts = torch.einsum("bmhw,bchw->bmc", attention, features) / pixels
    return parts.flatten(1)


def linear_classifier(width: int, classes: int, gain: float, bias: bool = True) -> nn.Linear:
    """A linear layer whose first weights are PyTorch's times `gain`; its bias is PyTorch's.

    Behind `signed_sqrt_l2` the largest stable learning rate falls with the square of `feature_scale`, and the
    gradient that reaches the trunk rises with `feature_scale` times `gain`: a small scale and a large gain
    give the trunk its gradient at a rate at which the classifier is stable (docs/paper.md).
    """
    classifier = nn.Linear(width, classes, bias=bias)
    with torch.no_grad():
        classifier.weight.mul_(gain)
    return classifier


def signed_sqrt_l2(vector: Tensor, scale: float) -> Tensor:
    """sign(x) sqrt(|x| + 1e-12), then length `scale` (NOTES.md, after pooling). [B, D] -> float32 [B, D].

    A zero vector stays zero.
    """
    vector = vector.float()  # in bf16 the root and the length of 65536 entries would lose their digits
    rooted = vector.sign() * (vector.abs() + 1e-12).sqrt()
    return scale * F.normalize(rooted, dim=1)
