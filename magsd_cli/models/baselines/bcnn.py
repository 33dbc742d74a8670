"""Bilinear CNNs (Lin et al., ICCV 2015): the rows "BCNN" and "BCNN (Attention (Ours))" of Table 3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from magsd_cli.models.attention import (
    attention_branches,
    attention_pooling,
    linear_classifier,
    multiscale_attention,
    signed_sqrt_l2,
)
from magsd_cli.models.baselines.vgg import VGG16Features, vgg16_trunk
from magsd_cli.models.class_maps import Pooled, class_maps
from magsd_cli.models.output import Output
from magsd_cli.recipe import Model


class BCNN(nn.Module):
    """B-CNN [D, D]: both streams are VGG16's convolutions up to conv5_3, with shared weights."""

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.scale = settings.feature_scale
        self.features = VGG16Features()
        self.trunk = vgg16_trunk(self.features)
        self.classifier = linear_classifier(
            self.features.channels[-1] ** 2, classes, settings.classifier_gain
        )

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 16 and more -> logits [B, K]."""
        vector = signed_sqrt_l2(bilinear_pooling(self.features(images)[-1]), self.scale)
        return Output(self.classifier(vector), None)


class BCNNAttention(nn.Module):
    """BCNN with this paper's modules: one stream becomes multiscale attention maps, pooled by eq. 1.

    Attention pooling is bilinear pooling of the maps with the features, so nothing else of BCNN changes.
    """

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.features = VGG16Features()
        self.trunk = vgg16_trunk(self.features)
        self.branches = attention_branches(self.features.channels, settings)
        width = settings.attention_maps * self.features.channels[-1]
        self.classifier = linear_classifier(width, classes, settings.classifier_gain)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 16 and more -> logits [B, K], attention [B, M, h, w].

        h and w are 1/16 of H and W, rounded down.
        """
        pooled = self._pool(images)
        return Output(self.classifier(pooled.used), pooled.attention)

    def explain(self, images: Tensor) -> Output:
        """Return what `forward` does, with class-aware maps [B, K, h, w]."""
        pooled = self._pool(images)
        return Output(self.classifier(pooled.used), pooled.attention, class_maps(pooled, self.classifier))

    def _pool(self, images: Tensor) -> Pooled:
        features = self.features(images)
        attention = multiscale_attention(self.branches, features, self.settings.attention_downsample)
        vector = attention_pooling(features[-1], attention)
        used = signed_sqrt_l2(vector, self.settings.feature_scale)
        return Pooled(features[-1], attention, vector, used)


def bilinear_pooling(features: Tensor) -> Tensor:
    """Lin et al., eq. 2 and 3: the outer product of the features with themselves, averaged over the image.

    [B, C, h, w] -> [B, C * C]. They sum; the L2 norm that follows makes the mean the same.
    """
    flat = features.flatten(2)
    return (torch.bmm(flat, flat.transpose(1, 2)) / flat.shape[2]).flatten(1)
