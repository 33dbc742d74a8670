"""COVID-Net (Wang and Wong, arXiv:2003.09871), the large variant: the row "COVID-Net" of Table 3."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.models.output import Output
from magsd_cli.recipe import Model

STEM = 64
WIDTHS = (256, 512, 1024, 2048)  # of the four stages, at 1/4, 1/8, 1/16 and 1/32 of the side
BLOCKS = (3, 4, 6, 3)
GRID = 7  # pixels a side that the hidden layer takes: 1/32 of 224
HIDDEN = (1024, 256)


class COVIDNet(nn.Module):
    """A 7x7 convolution, four stages of PEPX blocks with long-range connections, three linear layers.

    `long_range=False` is the small variant. There are no published weights that torchvision could read.
    """

    trunk = None

    def __init__(self, _settings: Model, classes: int, long_range: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, STEM, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(STEM),
            nn.ReLU(inplace=True),
        )
        before = (STEM, *WIDTHS[:-1])
        self.stages = nn.ModuleList(
            Stage(old, new, blocks, long_range)
            for old, new, blocks in zip(before, WIDTHS, BLOCKS, strict=True)
        )
        sizes = (WIDTHS[-1] * GRID * GRID, *HIDDEN)
        self.hidden = nn.ModuleList(nn.Linear(old, new) for old, new in pairwise(sizes))
        self.classifier = nn.Linear(HIDDEN[-1], classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 64 and more -> logits [B, K].

        At other sizes than 224 the last features are averaged to the 7x7 that the hidden layer takes.
        """
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        x = F.adaptive_avg_pool2d(x, GRID).flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x))
        return Output(self.classifier(x), None)


class Stage(nn.Module):
    """Blocks of one resolution; each takes the sum of everything before it in the stage (Fig. 2 there).

    With `long_range` a 1x1 convolution carries what enters the stage to all its later blocks and out of it.
    """

    def __init__(self, entering: int, width: int, blocks: int, long_range: bool) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(entering, width, 1, bias=False) if long_range else None
        self.norm = nn.BatchNorm2d(width) if long_range else None
        self.blocks = nn.ModuleList(PEPX(entering if i == 0 else width, width) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, width, H/2, W/2], rounded down."""
        small = F.max_pool2d(x, 2)
        outputs = [self.blocks[0](small)]
        if self.shortcut is not None and self.norm is not None:
            outputs.append(F.max_pool2d(F.relu(self.norm(self.shortcut(x))), 2))
        for block in self.blocks[1:]:
            outputs.append(block(_sum(outputs)))
        return _sum(outputs)


class PEPX(nn.Module):
    """Projection, expansion, depthwise 3x3, projection, extension (section 2.2 there).

    The paper gives the order and not the widths: a quarter and three quarters of the input's are what gives
    the small variant its published 117.4 million parameters.
    """

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        narrow, wide = entering // 4, 3 * entering // 4
        self.layers = nn.Sequential(
            nn.Conv2d(entering, narrow, 1, bias=False),
            nn.Conv2d(narrow, wide, 1, bias=False),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
            nn.Conv2d(wide, narrow, 1, bias=False),
            nn.Conv2d(narrow, leaving, 1, bias=False),
            nn.BatchNorm2d(leaving),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, entering, H, W] -> [B, leaving, H, W], not negative."""
        out: Tensor = self.layers(x)
        return out


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).sum(0)
