"""A small U-Net that finds lungs: 0.27 million parameters, for `magsd lungs train`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from magsd_cli.models.baselines.unet import twice

WIDTHS = (12, 24, 48, 96)  # from the finest level to the bottom


class LungUNet(nn.Module):
    """U-Net (Ronneberger et al., MICCAI 2015) with padded convolutions, each followed by batch norm.

    forward: z-scored films [B, 1, S, S], S a multiple of 8 -> logits of lung [B, 1, S, S].
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        entering = (1, *widths[:-1])
        self.down = nn.ModuleList(twice(old, new) for old, new in zip(entering, widths, strict=True))
        falling = tuple(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(old, new, 2, stride=2) for old, new in falling)
        self.join = nn.ModuleList(twice(old, new) for old, new in falling)
        self.lung = nn.Conv2d(widths[0], 1, 1)

    def forward(self, films: Tensor) -> Tensor:
        """Answer for [B, 1, S, S] as the class says."""
        x, skips = films, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        logits: Tensor = self.lung(x)
        return logits

    def plain_weights(self) -> dict[str, Tensor]:
        """Weights of the same network without batch norm (in eval mode), in float16.

        ``down.<level>.<0 or 1>``, ``up.<step>``, ``join.<step>.<0 or 1>`` and ``lung``, each with ``.weight``
        and ``.bias``; the rounding moves an answer by less than a thousandth.
        """
        layers: dict[str, nn.Module] = {"lung": self.lung}
        layers |= {f"up.{step}": up for step, up in enumerate(self.up)}
        for name, blocks in (("down", self.down), ("join", self.join)):
            for number, block in enumerate(blocks):
                assert isinstance(block, nn.Sequential)
                for place in (0, 1):
                    convolution, norm = block[3 * place].eval(), block[3 * place + 1].eval()
                    assert isinstance(convolution, nn.Conv2d)
                    assert isinstance(norm, nn.BatchNorm2d)
                    layers[f"{name}.{number}.{place}"] = fuse_conv_bn_eval(convolution, norm)
        return {
            f"{name}.{kind}": value.detach().half().contiguous()
            for name, layer in sorted(layers.items())
            for kind, value in layer.named_parameters()
        }
