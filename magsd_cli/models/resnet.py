"""torchvision's ResNets as feature extractors: f1, f2, f3 of section 3.2.1 from a one-channel X-ray."""

from __future__ import annotations

import difflib

import torchvision
from torch import Tensor, nn

from magsd_cli.errors import UsageError

STAGES = ("layer1", "layer2", "layer3", "layer4")  # at 1/4, 1/8, 1/16 and 1/32 of the image


class ResNetFeatures(nn.Module):
    """The trunk of a ResNet, its parts named as torchvision names them.

    `channels` are the widths of f1, f2, f3; `output_stride` (32, 16 or 8) is how many image pixels lie under
    one of f3 at most: the stages that would go beyond do not halve, so that the attention maps are finer than
    the paper's. `stages` 3 ends the trunk after layer3, whose features see less of the image and tell better
    where things are. Raises `UsageError` for a name that torchvision does not know.
    """

    def __init__(self, name: str, output_stride: int = 32, stages: int = 4) -> None:
        super().__init__()
        check_backbone(name)
        network = torchvision.models.get_model(name, weights=None)
        self.conv1 = one_channel(network.conv1)
        self.bn1, self.relu, self.maxpool = network.bn1, network.relu, network.maxpool
        self.stages = STAGES[:stages]
        for number, name_of_stage in enumerate(self.stages):
            stage = getattr(network, name_of_stage)
            if 4 << number > output_stride:
                _keep_size(stage)
            self.add_module(name_of_stage, stage)
        self.channels = tuple(_width(getattr(network, stage)) for stage in self.stages[-3:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 1, H, W] -> [f1, f2, f3], the last features before each halving.

        Their sides are H and W over 8, 16 and 32 (with three stages 4, 8 and 16; at most `output_stride`),
        rounded up.
        """
        return self.outputs(images)[-3:]

    def outputs(self, images: Tensor) -> list[Tensor]:
        """[B, 1, H, W] -> what each stage gives, finest first: with four of them C2..C5 of a pyramid."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        outputs: list[Tensor] = []
        for stage in self.stages:
            x = getattr(self, stage)(x)
            outputs.append(x)
        return outputs


def check_backbone(name: str) -> None:
    """Raise `UsageError` with the nearest known names unless torchvision has a ResNet of this name."""
    every = torchvision.models.list_models(module=torchvision.models)
    known = [n for n in every if torchvision.models.get_model_builder(n).__module__.endswith(".resnet")]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or sorted(known)
        raise UsageError(f"model.backbone={name}: no such backbone; choose {', '.join(near)}")


def one_channel(conv: nn.Conv2d) -> nn.Conv2d:
    """A fresh convolution like `conv` for one channel, drawn as torchvision draws its ResNets' filters."""
    fresh = nn.Conv2d(
        1,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        padding=conv.padding if isinstance(conv.padding, str) else (conv.padding[0], conv.padding[1]),
        dilation=(conv.dilation[0], conv.dilation[1]),
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    return fresh


def _keep_size(stage: nn.Module) -> None:
    """Let a stage that halves its input keep the size, with the same weights."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


def _width(stage: nn.Module) -> int:
    return next(m.num_features for m in reversed(list(stage.modules())) if isinstance(m, nn.BatchNorm2d))
