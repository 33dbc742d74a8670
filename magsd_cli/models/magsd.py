"""MA-Net (section 3.2): a ResNet, multiscale attention maps and attention pooling."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from magsd_cli.errors import UsageError
from magsd_cli.models.attention import (
    attention_branches,
    attention_pooling,
    linear_classifier,
    multiscale_attention,
    signed_sqrt_l2,
)
from magsd_cli.models.baselines.bcnn import bilinear_pooling
from magsd_cli.models.class_maps import Pooled, alone, at_maximum, class_maps
from magsd_cli.models.output import Output
from magsd_cli.models.resnet import STAGES, ResNetFeatures
from magsd_cli.models.timm_features import PREFIX, TimmFeatures, timm_trunk
from magsd_cli.models.weights import Trunk
from magsd_cli.recipe import Model


class MANet(nn.Module):
    """Fig. 2: features, the multiscale attention generator, attention pooling and a linear classifier."""

    def __init__(self, settings: Model, classes: int) -> None:
        super().__init__()
        self.settings = settings
        self.features, self.trunk = trunk_features(settings)
        self.branches = attention_branches(self.features.channels, settings)
        last = self.features.channels[-1]
        parts = {"attention": settings.attention_maps, "bilinear": last}.get(settings.pooling, 1)
        gain = 1.0 if settings.feature_norm == "none" else settings.classifier_gain
        self.classifier = linear_classifier(parts * last, classes, gain, settings.classifier_bias)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 64 and more -> logits [B, K], attention [B, M, h, w].

        h and w are 1/32 of H and W (1/16 with three `stages`; at least 1 / `output_stride`), rounded up. The
        attention helps to classify.
        """
        pooled = self._pool(images)
        return Output(self.classifier(pooled.used), pooled.attention)

    def explain(self, images: Tensor) -> Output:
        """Return what `forward` does, with class-aware maps [B, K, h, w]."""
        pooled = self._pool(images)
        features, seen = pooled.features, pooled
        match self.settings.pooling:
            case "bilinear":
                seen = pooled._replace(attention=features)
            case "gap":
                seen = pooled._replace(attention=alone(features))
            case "gmp":
                seen = pooled._replace(attention=alone(features), features=at_maximum(features))
        maps = class_maps(seen, self.classifier)
        return Output(self.classifier(pooled.used), pooled.attention, maps)

    def _pool(self, images: Tensor) -> Pooled:
        features = self.features(images)
        attention = multiscale_attention(self.branches, features, self.settings.attention_downsample)
        vector = used = POOLINGS[self.settings.pooling](features[-1], attention)
        if self.settings.feature_norm == "signed_sqrt_l2":
            used = signed_sqrt_l2(vector, self.settings.feature_scale)
        return Pooled(features[-1], attention, vector, used)


def trunk_features(settings: Model) -> tuple[ResNetFeatures | TimmFeatures, Trunk]:
    """The extractor of f1, f2, f3 that the recipe names, and where its published weights go.

    Raises `UsageError` for a timm backbone with other stages, or with a stride that it does not have.
    """
    name = settings.backbone
    if name.startswith(PREFIX):
        if settings.stages != Model().stages:
            raise UsageError(f"model.stages: works only with torchvision's ResNets; leave it out for {name}")
        modern = TimmFeatures(name.removeprefix(PREFIX), settings.output_stride)
        return modern, timm_trunk(modern, name)
    features = ResNetFeatures(name, settings.output_stride, settings.stages)
    unused = tuple(f"{stage}." for stage in STAGES[settings.stages :])
    return features, Trunk(features, name, "conv1.weight", ("fc.", *unused))


def changed_trunk(settings: Model) -> list[str]:
    """The keys of `settings` that change a trunk's shape and are not at the paper's value."""
    return [key for key in ("stages", "output_stride") if getattr(settings, key) != getattr(Model(), key)]


def global_average_pooling(features: Tensor, _attention: Tensor) -> Tensor:
    """Table 6, "GAP": [B, C, h, w] -> [B, C]. The attention maps are not used, and so are not trained."""
    return features.mean((2, 3))


def global_max_pooling(features: Tensor, _attention: Tensor) -> Tensor:
    """Table 6, "GMP": [B, C, h, w] -> [B, C]. The attention maps are not used, and so are not trained."""
    return features.amax((2, 3))


def self_pooling(features: Tensor, _attention: Tensor) -> Tensor:
    """BCNN's pooling on this backbone: [B, C, h, w] -> [B, C * C]. The attention maps are not used."""
    return bilinear_pooling(features)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "attention": attention_pooling,
    "gap": global_average_pooling,
    "gmp": global_max_pooling,
    "bilinear": self_pooling,
}
