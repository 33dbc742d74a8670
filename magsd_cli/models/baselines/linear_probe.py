"""Logistic regression on the frozen features of a trunk: what any trained network must beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from magsd_cli.models.magsd import trunk_features
from magsd_cli.models.output import Output
from magsd_cli.recipe import Model


class LinearProbe(nn.Module):
    """The means over the image of all three scales of `model.backbone`, and a linear layer behind them.

    The layer is fitted by ``train.step = "logistic_regression"`` and not by gradient steps; the trunk keeps
    the weights that it begins with and its batch norm the statistics. A linear probe (Alain and Bengio,
    arXiv:1610.01644).
    """

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.features, self.trunk = trunk_features(settings)
        self.features.requires_grad_(False)
        self.classifier = nn.Linear(sum(self.features.channels), classes)

    def vectors(self, images: Tensor) -> Tensor:
        """z-scored X-rays [B, 1, H, W] -> float32 [B, D], D the sum of the scales' widths."""
        return torch.cat([scale.float().mean((2, 3)) for scale in self.features(images)], dim=1)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 64 and more -> logits [B, K]."""
        return Output(self.classifier(self.vectors(images)), None)
