"""The networks of Narin et al. (arXiv:2003.10849): "[51] (ResNet)" and "[51] (InceptionV3)" in Table 3.

A network pretrained on ImageNet, its features averaged over the image, then a small dense head. Their text
gives no width for the hidden layer; 128 is this project's choice (docs/paper.md).
"""

from __future__ import annotations

from torch import Tensor, nn

from magsd_cli.models.baselines.inception import InceptionFeatures, inception_trunk
from magsd_cli.models.output import Output
from magsd_cli.models.resnet import ResNetFeatures
from magsd_cli.models.weights import Trunk
from magsd_cli.recipe import Model

HIDDEN = 128


class DenseHead(nn.Sequential):
    """A hidden layer with ReLU, and the classifier. forward: [B, C] -> logits [B, K]."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__(nn.Linear(channels, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, classes))


class NarinResNet50(nn.Module):
    """ResNet50, global average pooling, dense head."""

    def __init__(self, _settings: Model, classes: int) -> None:
        super().__init__()
        self.features = ResNetFeatures("resnet50")
        self.trunk = Trunk(self.features, "resnet50", "conv1.weight", ("fc.",))
        self.classifier = DenseHead(self.features.channels[-1], classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W] of any size -> logits [B, K]."""
        return Output(self.classifier(self.features(images)[-1].mean((2, 3))), None)


class NarinInceptionV3(nn.Module):
    """InceptionV3, global average pooling, dense head."""

    def __init__(self, _settings: Model, classes: int) -> None:
        super().__init__()
        self.features = InceptionFeatures()
        self.trunk = inception_trunk(self.features)
        self.classifier = DenseHead(self.features.channels, classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 75 and more -> logits [B, K]."""
        return Output(self.classifier(self.features(images)), None)
