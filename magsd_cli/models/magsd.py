"""MA-Net (section 3.2): a ResNet, multiscale attention maps and attention pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.models.output import Output
from magsd_cli.models.resnet import ResNetFeatures
from magsd_cli.recipe import Model


class AttentionBranch(nn.Module):
    """One scale of Fig. 3: a 1x1 convolution, batch norm and ReLU. [B, C, h, w] -> [B, M, h, w], not negative."""

    def __init__(self, channels: int, maps: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, maps, 1, bias=False)
        self.norm = nn.BatchNorm2d(maps, eps=eps)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(features)))


class MANet(nn.Module):
    """forward: z-scored X-rays [B, 1, H, W], H and W of 64 or more -> Output(logits [B, K], attention [B, M, h, w])."""

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.features = ResNetFeatures(settings.backbone)
        used = self.features.channels[-settings.scales :]
        self.branches = nn.ModuleList(
            AttentionBranch(c, settings.attention_maps, settings.attention_norm_eps) for c in used
        )
        parts = settings.attention_maps if settings.pooling == "attention" else 1
        self.classifier = nn.Linear(parts * used[-1], classes, bias=False)

    def forward(self, images: Tensor) -> Output:
        features = self.features(images)
        attention = self.attention(features)
        vector = POOLINGS[self.settings.pooling](features[-1], attention)
        if self.settings.feature_norm == "signed_sqrt_l2":
            vector = signed_sqrt_l2(vector, self.settings.feature_scale)
        return Output(self.classifier(vector), attention)

    def attention(self, features: list[Tensor]) -> Tensor:
        """Fig. 3: the maps of every scale, brought to the size of f3 and added."""
        size = features[-1].shape[-2:]
        maps = [branch(f) for branch, f in zip(self.branches, features[-len(self.branches) :], strict=True)]
        return torch.stack([_resize(m, size, self.settings.attention_downsample) for m in maps]).sum(0)


def attention_pooling(features: Tensor, attention: Tensor) -> Tensor:
    """Eq. 1. PF_j = A_j * f3, each averaged over its pixels; one batched product, no part map is stored.

    features [B, C, h, w], attention [B, M, h, w] -> [B, M * C].
    """
    pixels = features.shape[-2] * features.shape[-1]
    parts = torch.einsum("bmhw,bchw->bmc", attention, features) / pixels
    return parts.flatten(1)


def _gap(features: Tensor, _attention: Tensor) -> Tensor:
    return features.mean((2, 3))


def _gmp(features: Tensor, _attention: Tensor) -> Tensor:
    return features.amax((2, 3))


def signed_sqrt_l2(vector: Tensor, scale: float) -> Tensor:
    """sign(x) sqrt(|x| + 1e-12), then unit length times `scale` (NOTES.md, after pooling). [B, D] -> [B, D]."""
    rooted = vector.sign() * (vector.abs() + 1e-12).sqrt()
    return scale * F.normalize(rooted, dim=1)


def _resize(maps: Tensor, size: torch.Size, how: str) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    if how == "average":
        return F.adaptive_avg_pool2d(maps, list(size))
    if how == "max":
        return F.adaptive_max_pool2d(maps, list(size))
    return F.interpolate(maps, size=list(size), mode="bilinear", align_corners=False)


POOLINGS = {"attention": attention_pooling, "gap": _gap, "gmp": _gmp}
