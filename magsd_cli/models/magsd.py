"""MA-Net (section 3.2): a ResNet, multiscale attention maps and attention pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.models.output import Output
from magsd_cli.models.resnet import ResNetFeatures
from magsd_cli.models.weights import Trunk
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


class MANet(nn.Module):
    """Fig. 2: features, the multiscale attention generator, attention pooling and a linear classifier."""

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.features = ResNetFeatures(settings.backbone)
        self.trunk = Trunk(self.features, settings.backbone, "conv1.weight", ("fc.",))
        used = self.features.channels[-settings.scales :]
        self.branches = nn.ModuleList(
            AttentionBranch(c, settings.attention_maps, settings.attention_norm_eps) for c in used
        )
        parts = settings.attention_maps if settings.pooling == "attention" else 1
        self.classifier = nn.Linear(parts * used[-1], classes, bias=False)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 64 and more -> logits [B, K], attention [B, M, h, w]."""
        features = self.features(images)
        attention = self.attention(features)
        vector = POOLINGS[self.settings.pooling](features[-1], attention)
        if self.settings.feature_norm == "signed_sqrt_l2":
            vector = signed_sqrt_l2(vector, self.settings.feature_scale)
        return Output(self.classifier(vector), attention)

    def attention(self, features: list[Tensor]) -> Tensor:
        """Fig. 3: the maps of the last one, two or three scales, brought to the size of f3 and added."""
        used = features[-len(self.branches) :]
        maps = [branch(f) for branch, f in zip(self.branches, used, strict=True)]
        height, width = features[-1].shape[-2:]
        how = self.settings.attention_downsample
        return torch.stack([downsample(m, (height, width), how) for m in maps]).sum(0)


def attention_pooling(features: Tensor, attention: Tensor) -> Tensor:
    """Eq. 1. PF_j = A_j * f3, each averaged over its pixels; one batched product, no part map is stored.

    features [B, C, h, w], attention [B, M, h, w] -> [B, M * C], map by map.
    """
    pixels = features.shape[-2] * features.shape[-1]
    parts = torch.einsum("bmhw,bchw->bmc", attention, features) / pixels
    return parts.flatten(1)


def global_average_pooling(features: Tensor, _attention: Tensor) -> Tensor:
    """Table 6, "GAP": [B, C, h, w] -> [B, C]. The attention maps are not used, and so are not trained."""
    return features.mean((2, 3))


def global_max_pooling(features: Tensor, _attention: Tensor) -> Tensor:
    """Table 6, "GMP": [B, C, h, w] -> [B, C]. The attention maps are not used, and so are not trained."""
    return features.amax((2, 3))


def signed_sqrt_l2(vector: Tensor, scale: float) -> Tensor:
    """sign(x) sqrt(|x| + 1e-12), then length `scale` (NOTES.md, after pooling). [B, D] -> float32 [B, D]."""
    vector = vector.float()  # in bf16 the root and the length of 65536 entries would lose their digits
    rooted = vector.sign() * (vector.abs() + 1e-12).sqrt()
    return scale * F.normalize(rooted, dim=1)


def downsample(maps: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """Maps [B, M, H, W] brought to `size` (Fig. 3, "Downsample"): `average`, `max` or `bilinear`."""
    if maps.shape[-2:] == size:
        return maps
    if how == "average":
        return F.adaptive_avg_pool2d(maps, size)
    if how == "max":
        return F.adaptive_max_pool2d(maps, size)
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


POOLINGS = {
    "attention": attention_pooling,
    "gap": global_average_pooling,
    "gmp": global_max_pooling,
}
