"""COVID-Net: its published size, its blocks, its long-range connections."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from magsd_cli.models.baselines.covidnet import PEPX, COVIDNet, Stage
from magsd_cli.models.build import parameters
from magsd_cli.recipe import Model


def test_the_small_variant_has_the_published_size() -> None:
    # docs/models.md of the authors' repository: 117.4 million for COVIDNet-CXR Small.
    with torch.device("meta"):
        model = COVIDNet(Model(), 3, long_range=False)
    assert parameters(model) / 1e6 == pytest.approx(117.4, abs=0.05)


def test_the_large_variant_is_within_six_percent_of_the_published_size() -> None:
    # 127.4 million there; the paper does not say how wide its 1x1 long-range convolutions are.
    with torch.device("meta"):
        model = COVIDNet(Model(), 3)
    assert parameters(model) / 127.4e6 == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("size", [64, 97, 224])
def test_shapes(size: int) -> None:
    with torch.device("meta"):
        output = COVIDNet(Model(), 4)(torch.empty(2, 1, size, size))
    assert output.logits.shape == (2, 4)
    assert output.attention is None


def test_a_pepx_block_is_five_convolutions_and_all_but_one_are_1x1() -> None:
    sizes = [layer.kernel_size[0] for layer in PEPX(16, 32).layers if isinstance(layer, nn.Conv2d)]
    groups = [layer.groups for layer in PEPX(16, 32).layers if isinstance(layer, nn.Conv2d)]
    assert sizes == [1, 1, 3, 1, 1]
    assert groups == [1, 1, 12, 1, 1]


def test_every_block_sees_the_sum_of_all_before_it() -> None:
    stage = Stage(4, 8, blocks=3, long_range=True)
    seen: list[torch.Tensor] = []
    made: list[torch.Tensor] = []

    def note(_module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        seen.append(inputs[0])
        made.append(output)

    for block in stage.blocks:
        block.register_forward_hook(note)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    out = stage(x)
    shortcut = seen[1] - made[0]  # what is neither the first block's nor zero is the 1x1 convolution's
    assert shortcut.abs().max() > 0
    assert torch.allclose(seen[2], made[0] + made[1] + shortcut, atol=1e-5)
    assert torch.allclose(out, made[0] + made[1] + made[2] + shortcut, atol=1e-5)
