"""InceptionV3 (Szegedy et al., CVPR 2016): the row of that name in Table 3."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from magsd_cli.models.output import Output, check_size
from magsd_cli.models.resnet import one_channel
from magsd_cli.models.weights import Trunk
from magsd_cli.recipe import Model


class InceptionFeatures(nn.Module):
    """InceptionV3 up to its average pooling and dropout.

    The auxiliary classifier is left out: one prediction vector is what every network here is trained by.
    """

    channels = 2048

    def __init__(self) -> None:
        super().__init__()
        network = torchvision.models.inception_v3(
            weights=None, aux_logits=False, transform_input=False, init_weights=True
        )
        network.Conv2d_1a_3x3.conv = one_channel(network.Conv2d_1a_3x3.conv)
        network.fc = nn.Identity()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W], sides of 75 and more -> [B, 2048]. Raises `UsageError` for smaller ones."""
        check_size(images, "inception_v3")
        vector: Tensor = self.network(images)
        return vector


def inception_trunk(features: InceptionFeatures) -> Trunk:
    """The whole extractor, as a place for torchvision's weights."""
    return Trunk(features.network, "inception_v3", "Conv2d_1a_3x3.conv.weight", ("fc.", "AuxLogits."))


class InceptionV3(nn.Module):
    """The inception modules, global average pooling, dropout and a linear classifier."""

    def __init__(self, _settings: Model, classes: int) -> None:
        super().__init__()
        self.features = InceptionFeatures()
        self.trunk = inception_trunk(self.features)
        self.classifier = nn.Linear(self.features.channels, classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 75 and more -> logits [B, K]."""
        return Output(self.classifier(self.features(images)), None)
