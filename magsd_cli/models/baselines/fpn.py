"""Feature pyramid network (Lin et al., CVPR 2017) as a classifier: the row "FPN" of Table 3."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.models.output import Output
from magsd_cli.models.resnet import ResNetFeatures
from magsd_cli.models.weights import Trunk
from magsd_cli.recipe import Model

WIDTH = 256  # of every level, as in the original


class FPN(nn.Module):
    """A ResNet bottom-up, a top-down pathway with lateral connections; all levels are classified."""

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.features = ResNetFeatures(settings.backbone)
        self.trunk = Trunk(self.features, settings.backbone, "conv1.weight", ("fc.",))
        # layer1 of every torchvision ResNet is half as wide as layer2.
        widths = (self.features.channels[0] // 2, *self.features.channels)
        self.lateral = nn.ModuleList(nn.Conv2d(width, WIDTH, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in widths)
        self.classifier = nn.Linear(WIDTH * len(widths), classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 64 and more -> logits [B, K]."""
        levels = self.pyramid(self.features.outputs(images))
        return Output(self.classifier(torch.cat([level.mean((2, 3)) for level in levels], 1)), None)

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """C2..C5, finest first, [B, C_i, h_i, w_i] -> P2..P5 [B, 256, h_i, w_i] (Fig. 3 there)."""
        merged = [lateral(c) for lateral, c in zip(self.lateral, features, strict=True)]
        for i in range(len(merged) - 2, -1, -1):
            merged[i] = merged[i] + F.interpolate(merged[i + 1], size=merged[i].shape[2:], mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]
