"""U-Net (Ronneberger et al., MICCAI 2015) as a classifier: the row "U-Net" of Table 3."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.models.output import Output
from magsd_cli.recipe import Model

WIDTHS = (64, 128, 256, 512, 1024)  # from the finest level to the bottom


class UNet(nn.Module):
    """Contracting and expanding path of the original; its last 64 maps are averaged and classified.

    Unlike the original, convolutions are padded, so that every size fits, and each is followed by batch norm;
    the original leans on its own initialisation and a momentum of 0.99. It has no published weights.
    """

    trunk = None

    def __init__(self, _settings: Model, classes: int) -> None:
        super().__init__()
        entering = (1, *WIDTHS[:-1])
        self.down = nn.ModuleList(twice(old, new) for old, new in zip(entering, WIDTHS, strict=True))
        falling = tuple(zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(old, new, 2, stride=2) for old, new in falling)
        self.join = nn.ModuleList(twice(old, new) for old, new in falling)
        self.classifier = nn.Linear(WIDTHS[0], classes)

    def forward(self, images: Tensor) -> Output:
        """z-scored X-rays [B, 1, H, W], sides of 64 and more -> logits [B, K]."""
        x, skips = images, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat([skip, fit(up(x), skip)], 1))
        return Output(self.classifier(x.mean((2, 3))), None)


def twice(entering: int, leaving: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and ReLU: [B, entering, H, W] -> [B, leaving, H, W]."""
    layers: list[nn.Module] = []
    for width in (entering, leaving):
        layers += [
            nn.Conv2d(width, leaving, 3, padding=1),
            nn.BatchNorm2d(leaving),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def fit(x: Tensor, skip: Tensor) -> Tensor:
    """`x` with the row and the column that an odd size lost in pooling, repeated from its edge."""
    rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
    return F.pad(x, (0, columns, 0, rows), mode="replicate") if rows or columns else x
