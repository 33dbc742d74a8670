"""torchvision's ResNets as feature extractors: f1, f2, f3 of section 3.2.1 from a one-channel X-ray."""

from __future__ import annotations

import torchvision
from torch import Tensor, nn

STAGES = ("layer2", "layer3", "layer4")


class ResNetFeatures(nn.Module):
    """The trunk of a ResNet. forward: [B, 1, H, W] -> [f1, f2, f3] at 1/8, 1/16 and 1/32 of the side."""

    def __init__(self, name: str) -> None:
        super().__init__()
        network = torchvision.models.get_model(name, weights=None)
        self.conv1 = one_channel(network.conv1)
        self.bn1, self.relu, self.maxpool = network.bn1, network.relu, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        self.channels = tuple(_width(getattr(network, stage)) for stage in STAGES)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        f1 = self.layer2(self.layer1(x))
        f2 = self.layer3(f1)
        return [f1, f2, self.layer4(f2)]


def one_channel(conv: nn.Conv2d) -> nn.Conv2d:
    """A fresh convolution like `conv` for one input channel."""
    return nn.Conv2d(
        1,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=conv.bias is not None,
    )


def _width(stage: nn.Module) -> int:
    return [m for m in stage.modules() if isinstance(m, nn.BatchNorm2d)][-1].num_features
