"""U-Net as a classifier: its size is the original's, any image size fits."""

from __future__ import annotations

import pytest
import torch

from magsd_cli.models.baselines.unet import UNet, fit
from magsd_cli.models.build import parameters
from magsd_cli.recipe import Model


def test_it_has_the_originals_convolutions() -> None:
    # Weights and biases of the original with one input channel, level by level (Fig. 1 there):
    # down: 3x3 old -> new and new -> new; up: 2x2 new*2 -> new, then 3x3 new*2 -> new and new -> new.
    def conv(old: int, new: int, side: int = 3) -> int:
        return old * new * side * side + new

    widths = [64, 128, 256, 512, 1024]
    down = sum(conv(a, b) + conv(b, b) for a, b in zip([1, *widths], widths, strict=False))
    up = sum(conv(2 * b, b, 2) + conv(2 * b, b) + conv(b, b) for b in widths[:-1])
    norms = 2 * (2 * sum(widths) + 2 * sum(widths[:-1]))
    with torch.device("meta"):
        model = UNet(Model(), 3)
    assert parameters(model) == down + up + norms + 64 * 3 + 3
    # The original, as commonly counted with a final 1x1 to two classes: 31.0 million.
    assert (down + up) / 1e6 == pytest.approx(31.03, abs=0.01)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (299, 299)])
def test_shapes(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        output = UNet(Model(), 4)(torch.empty(2, 1, *size))
    assert output.logits.shape == (2, 4)
    assert output.attention is None


def test_an_odd_size_is_made_up_from_the_edge() -> None:
    x = torch.tensor([[[[1.0, 2.0]]]])
    assert fit(x, torch.zeros(1, 1, 2, 3)).tolist() == [[[[1.0, 2.0, 2.0], [1.0, 2.0, 2.0]]]]
    assert fit(x, torch.zeros(1, 1, 1, 2)) is x
