"""VGG16 (Simonyan and Zisserman, ICLR 2015, configuration D): the row "VGG16" of Table 3."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

from magsd_cli.models.output import Output
from magsd_cli.models.resnet import one_channel
from magsd_cli.models.weights import Trunk
from magsd_cli.recipe import Model


class VGG16(nn.Module):
    """Thirteen 3x3 convolutions, two hidden layers of 4096 with dropout, a linear classifier."""

    def __init__(self, _settings: Model, classes: int) -> None:
        super().__init__()
        network = torchvision.models.vgg16(weights=None)
        network.features[0] = one_channel(network.features[0])
        network.classifier = network.classifier[:-1]
        self.network = network
        self.trunk = Trunk(self.network, "vgg16", "features.0.weight", ("classifier.6.",))
        self.classifier = nn.Linear(4096, classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 32 and more -> logits [B, K].

        At other sizes than 224 the last features are averaged to the 7x7 that the hidden layers take.
        """
        return Output(self.classifier(self.network(images)), None)


class VGG16Features(nn.Module):
    """VGG16's convolutions, with torchvision's keys; `channels` are the widths of its three scales."""

    channels = (256, 512, 512)
    ends = (16, 23, 30)  # torchvision's numbers of the third, fourth and fifth pooling layers

    def __init__(self) -> None:
        super().__init__()
        self.features = torchvision.models.vgg16(weights=None).features
        self.features[0] = one_channel(self.features[0])

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 1, H, W] -> [conv3_3, conv4_3, conv5_3], after ReLU and before the pooling that follows each.

        Their sides are H and W over 4, 8 and 16, rounded down.
        """
        features, start, x = [], 0, images
        for end in self.ends:
            x = self.features[start:end](x)
            features.append(x)
            start = end
        return features


def vgg16_trunk(features: VGG16Features) -> Trunk:
    """The convolutions, as a place for torchvision's weights."""
    return Trunk(features, "vgg16", "features.0.weight", ("classifier.",))
