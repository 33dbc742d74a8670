"""ResNet18 and ResNet50 (He et al., CVPR 2016): the rows of those names in Table 3."""

from __future__ import annotations

from torch import Tensor, nn

from magsd_cli.models.class_maps import Pooled, alone, class_maps
from magsd_cli.models.output import Output
from magsd_cli.models.resnet import ResNetFeatures
from magsd_cli.models.weights import Trunk
from magsd_cli.recipe import Model


class ResNetClassifier(nn.Module):
    """The convolutions of the ResNet `name`, global average pooling and a linear classifier."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.features = ResNetFeatures(name)
        self.trunk = Trunk(self.features, name, "conv1.weight", ("fc.",))
        self.classifier = nn.Linear(self.features.channels[-1], classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W] of any size -> logits [B, K]."""
        return Output(self.classifier(self.features(images)[-1].mean((2, 3))), None)

    def explain(self, images: Tensor) -> Output:
        """Return what `forward` does, with class activation maps [B, K, h, w]."""
        features = self.features(images)[-1]
        vector = features.mean((2, 3))
        maps = class_maps(Pooled(features, alone(features), vector, vector), self.classifier)
        return Output(self.classifier(vector), None, maps)


def resnet18(_settings: Model, classes: int) -> ResNetClassifier:
    """Table 3, ResNet18."""
    return ResNetClassifier("resnet18", classes)


def resnet50(_settings: Model, classes: int) -> ResNetClassifier:
    """Table 3, ResNet50."""
    return ResNetClassifier("resnet50", classes)
