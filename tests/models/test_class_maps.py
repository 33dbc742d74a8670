"""Class-aware maps: by hand, and the logit they sum to for every network that has them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from magsd_cli.inference.torch_engine import Mirrored, explain
from magsd_cli.models.build import build_model
from magsd_cli.models.class_maps import Pooled, alone, at_maximum, class_maps
from magsd_cli.recipe import Model

SMALL = Model(backbone="resnet18", attention_maps=4, weights="none", classifier_gain=10.0)


def images(batch: int = 2, size: int = 96) -> torch.Tensor:
    return torch.randn(batch, 1, size, size, generator=torch.Generator().manual_seed(0))


NETWORKS = {
    "magsd": SMALL,
    "no norm": SMALL.model_copy(update={"feature_norm": "none"}),
    "gap": SMALL.model_copy(update={"pooling": "gap"}),
    "gap without norm": SMALL.model_copy(update={"pooling": "gap", "feature_norm": "none"}),
    "gmp": SMALL.model_copy(update={"pooling": "gmp"}),
    "bilinear": SMALL.model_copy(update={"pooling": "bilinear"}),
    "signed features": SMALL.model_copy(update={"backbone": "timm:tf_efficientnet_lite0"}),
    "bcnn_attention": SMALL.model_copy(update={"name": "bcnn_attention"}),
    "resnet18": SMALL.model_copy(update={"name": "resnet18"}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_sum_to_the_logits(name: str) -> None:
    network = build_model(NETWORKS[name], 3, seed=0).eval()
    with torch.inference_mode():
        plain, found = network(images()), network.explain(images())
    assert torch.equal(found.logits, plain.logits)
    assert plain.class_maps is None
    assert found.class_maps is not None
    assert found.class_maps.shape[:2] == (2, 3)
    size = max(1.0, float(found.logits.abs().max()))
    torch.testing.assert_close(found.class_maps.sum((2, 3)), found.logits, rtol=0, atol=2e-5 * size)
    # and they are no constant, which would sum up as well
    assert float(found.class_maps.std((2, 3)).min()) > 1e-6 * size


def test_by_hand() -> None:
    """One map, one feature, two pixels: v = (2*3 + 1*1) / 2 = 3.5; logit = w * s for the length s."""
    features, attention = torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[[2.0, 1.0]]]])
    vector = torch.tensor([[3.5]])
    scale = 10.0
    used = scale * vector.sqrt() / vector.sqrt().norm()
    classifier = nn.Linear(1, 2, bias=False)
    classifier.weight.data = torch.tensor([[2.0], [-1.0]])
    maps = class_maps(Pooled(features, attention, vector, used), classifier)
    # CAM_c(x) = s / (|r| h w) * W_c |v|^(-1/2) A(x) F(x), |r| = sqrt(3.5)
    first = scale / (math.sqrt(3.5) * 2) * 2.0 / math.sqrt(3.5)
    torch.testing.assert_close(maps[0, 0], first * torch.tensor([[6.0, 1.0]]))
    torch.testing.assert_close(maps[0, 1], -0.5 * maps[0, 0])
    torch.testing.assert_close(maps.sum((2, 3)), torch.tensor([[20.0, -10.0]]))


def test_what_cancels_and_the_bias_are_spread_evenly() -> None:
    features = torch.tensor([[[[1.0, -1.0]], [[4.0, 0.0]]]])
    vector = features.mean((2, 3))  # [0, 2]
    classifier = nn.Linear(2, 1)
    classifier.weight.data, classifier.bias.data = torch.tensor([[5.0, 3.0]]), torch.tensor([1.0])
    used = torch.tensor([[0.25, 2.0]])  # a root of nothing that is not quite nothing
    maps = class_maps(Pooled(features, alone(features), vector, used), classifier)
    even = (5 * 0.25 + 1) / 2
    torch.testing.assert_close(maps[0, 0], torch.tensor([[6 + even, even]]))


def test_the_maximum_shared_by_two_pixels_counts_once() -> None:
    features = torch.tensor([[[[2.0, 2.0, 1.0, -3.0]]]])
    torch.testing.assert_close(at_maximum(features), torch.tensor([[[[4.0, 4.0, 0.0, 0.0]]]]))
    torch.testing.assert_close(at_maximum(features).mean((2, 3)), torch.tensor([[2.0]]))


def test_the_mirrored_network_has_the_mean_of_both_maps_turned_back() -> None:
    network = build_model(SMALL, 3, seed=0).eval()
    with torch.inference_mode():
        direct, swapped = network.explain(images()), network.explain(images().flip(3))
        found = explain(Mirrored(network).eval(), images())
        again = explain(Mirrored(network).eval(), images().flip(3))
    torch.testing.assert_close(found.class_maps, (direct.class_maps + swapped.class_maps.flip(3)) / 2)
    torch.testing.assert_close(again.class_maps.flip(3), found.class_maps)


def test_a_network_without_such_a_split_says_nothing() -> None:
    network = build_model(SMALL.model_copy(update={"name": "unet"}), 2, seed=0).eval()
    with torch.inference_mode():
        assert explain(network, images()).class_maps is None
