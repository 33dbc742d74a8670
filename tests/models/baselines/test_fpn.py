"""FPN as a classifier: levels, the top-down sum, shapes, size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from magsd_cli.models.baselines.fpn import FPN
from magsd_cli.models.build import parameters
from magsd_cli.recipe import Model

SMALL = Model(backbone="resnet18", weights="none")


def test_the_top_down_sum_by_hand() -> None:
    model = FPN(SMALL, 3)
    model.lateral = nn.ModuleList(nn.Identity() for _ in range(4))
    model.smooth = nn.ModuleList(nn.Identity() for _ in range(4))
    c5 = torch.full((1, 1, 1, 1), 1000.0)
    c4 = torch.full((1, 1, 1, 2), 100.0)
    c3 = torch.tensor([[[[10.0, 20.0, 30.0, 40.0]]]])
    c2 = torch.zeros(1, 1, 1, 8)
    p2, p3, p4, p5 = model.pyramid([c2, c3, c4, c5])
    assert p5.flatten().tolist() == [1000.0]
    assert p4.flatten().tolist() == [1100.0, 1100.0]
    assert p3.flatten().tolist() == [1110.0, 1120.0, 1130.0, 1140.0]
    assert p2.flatten().tolist() == [1110.0, 1110.0, 1120.0, 1120.0, 1130.0, 1130.0, 1140.0, 1140.0]


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (224, 224)])
def test_shapes(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        output = FPN(SMALL, 4)(torch.empty(2, 1, *size))
    assert output.logits.shape == (2, 4)
    assert output.attention is None


def test_parameters_of_the_resnet50_pyramid() -> None:
    # torchvision's ResNet50 without its fc: 23 508 032, less two of three colour planes of the stem, 2*64*49.
    # Laterals: (256+512+1024+2048)*256 + 4*256; smoothing: 4*(256*256*9 + 256); classifier: 1024*3 + 3.
    trunk = 23_508_032 - 2 * 64 * 49
    with torch.device("meta"):
        model = FPN(Model(weights="none"), 3)
    assert parameters(model) == trunk + 3840 * 256 + 4 * 256 + 4 * (256 * 256 * 9 + 256) + 1024 * 3 + 3


def test_every_weight_gets_a_gradient() -> None:
    model = FPN(SMALL, 3)
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    nn.functional.cross_entropy(model(images).logits, torch.tensor([0, 2])).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
