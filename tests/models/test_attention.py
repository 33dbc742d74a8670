"""Attention maps and attention pooling against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from magsd_cli.models.attention import (
    AttentionBranch,
    attention_pooling,
    downsample,
    multiscale_attention,
    signed_sqrt_l2,
)


def test_equation_1_by_hand() -> None:
    # f3 has 2 channels of 1x2 pixels, A has 2 maps.
    # PF_1 = A_1 * f3 = [1*1, 2*3], [1*5, 2*7];  means 7/2 and 19/2
    # PF_2 = A_2 * f3 = [0*1, 4*3], [0*5, 4*7];  means 12/2 and 28/2
    features = torch.tensor([[[[1.0, 3.0]], [[5.0, 7.0]]]])
    attention = torch.tensor([[[[1.0, 2.0]], [[0.0, 4.0]]]])
    assert attention_pooling(features, attention).tolist() == [[3.5, 9.5, 6.0, 14.0]]


def test_equation_1_is_the_loop_over_part_feature_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, 4, 3, generator=generator)
    attention = torch.rand(3, 7, 4, 3, generator=generator)
    parts = [(attention[:, j : j + 1] * features).mean((2, 3)) for j in range(7)]
    assert torch.allclose(attention_pooling(features, attention), torch.cat(parts, 1), atol=1e-6)


def test_the_feature_vector_by_hand() -> None:
    # sqrt|x| with its sign: 4 -> 2, -9 -> -3, 36 -> 6; length sqrt(4 + 9 + 36) = 7; times 14: 4, -6, 12
    assert torch.allclose(
        signed_sqrt_l2(torch.tensor([[4.0, -9.0, 36.0]]), 14.0), torch.tensor([[4.0, -6.0, 12.0]])
    )


def test_a_zero_feature_vector_stays_zero_with_a_finite_gradient() -> None:
    vector = torch.zeros(1, 4, requires_grad=True)
    signed_sqrt_l2(vector, 100.0).sum().backward()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()
    assert signed_sqrt_l2(vector, 100.0).abs().max() == 0


def test_a_branch_by_hand() -> None:
    # Weights -2 and 3 for two maps; batch norm in eval mode divides by sqrt(1 + eps) = 2 for eps = 3.
    branch = AttentionBranch(1, 2, eps=3.0).eval()
    with torch.no_grad():
        branch.conv.weight.copy_(torch.tensor([-2.0, 3.0]).view(2, 1, 1, 1))
    maps = branch(torch.tensor([[[[1.0, -4.0]]]]))
    assert maps.tolist() == [[[[0.0, 4.0]], [[1.5, 0.0]]]]  # -2/2, 8/2; 3/2, -12/2, then ReLU
    assert branch.conv.bias is None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("average", [[3.5, 5.5]]),  # (1+2+5+6)/4, (3+4+7+8)/4
        ("max", [[6.0, 8.0]]),
        ("bilinear", [[3.5, 5.5]]),  # a sample in the middle of four pixels
    ],
)
def test_downsampling_by_hand(how: str, expected: list[list[float]]) -> None:
    maps = torch.tensor([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]])
    assert downsample(maps, (1, 2), how)[0, 0].tolist() == expected


def test_averages_of_sizes_that_do_not_divide() -> None:
    # 3 pixels to 2: each new one is the mean of the two that it touches.
    assert downsample(torch.tensor([[[[1.0, 2.0, 6.0]]]]), (1, 2), "average").tolist() == [[[[1.5, 4.0]]]]


def test_scales_are_added_at_the_coarsest_size() -> None:
    same = nn.ModuleList([nn.Identity(), nn.Identity()])
    fine = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])  # mean 4
    coarse = torch.tensor([[[[10.0]]]])
    unused = torch.full((1, 1, 4, 4), 1e9)
    assert multiscale_attention(same, [unused, fine, coarse], "average").item() == 14.0


def test_attention_is_finite_under_signed_roots() -> None:
    value = signed_sqrt_l2(torch.tensor([[1e-30, -1e-30]]), 1.0)
    assert value.tolist()[0] == pytest.approx([1 / math.sqrt(2), -1 / math.sqrt(2)], rel=1e-4)
