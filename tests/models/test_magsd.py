"""MA-Net: shapes for any size, backbone, scale and pooling; where its gradient goes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from magsd_cli.errors import UsageError
from magsd_cli.models.build import build_model
from magsd_cli.models.resnet import ResNetFeatures, check_backbone
from magsd_cli.recipe import Model

SMALL = Model(backbone="resnet18", attention_maps=4, weights="none")


def images(height: int, width: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_any_size_from_64_up(scales: int) -> None:
    model = build_model(SMALL.model_copy(update={"scales": scales}), 3, seed=0).eval()
    for height, width in [(64, 64), (65, 97), (96, 64), (101, 101), (224, 224)]:
        with torch.inference_mode():
            output = model(images(height, width))
        assert output.logits.shape == (2, 3)
        assert output.attention.shape == (2, 4, math.ceil(height / 32), math.ceil(width / 32))
        assert output.attention.min() >= 0
        assert output.logits.isfinite().all()


@pytest.mark.parametrize(
    ("pooling", "downsample"), [("attention", "max"), ("gap", "bilinear"), ("gmp", "average")]
)
def test_every_pooling_and_downsampling(pooling: str, downsample: str) -> None:
    changes = {"pooling": pooling, "attention_downsample": downsample}
    model = build_model(SMALL.model_copy(update=changes), 3, seed=0)
    output = model(images(64, 64))
    assert model.classifier.in_features == (4 * 512 if pooling == "attention" else 512)
    assert output.attention.shape == (2, 4, 2, 2)


def test_scales_change_the_attention_and_nothing_before_it() -> None:
    one, two = (build_model(SMALL.model_copy(update={"scales": s}), 3, seed=0) for s in (1, 2))
    assert len(one.branches) == 1
    assert len(two.branches) == 2
    assert two.branches[0].conv.in_channels == 256  # layer3 of a ResNet18
    assert two.branches[1].conv.in_channels == 512
    assert torch.equal(one.features.conv1.weight, two.features.conv1.weight)


def test_classification_trains_the_attention() -> None:
    model = build_model(SMALL, 3, seed=0)
    nn.functional.cross_entropy(model(images(64, 64)).logits, torch.tensor([0, 1])).backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert all(branch.conv.weight.grad.abs().max() > 0 for branch in model.branches)


def test_the_feature_vector_has_the_recipes_length() -> None:
    seen = []
    model = build_model(SMALL, 3, seed=0).eval()
    model.classifier.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    model(images(64, 64))
    assert torch.allclose(seen[0].norm(dim=1), torch.tensor([100.0, 100.0]), rtol=1e-4)
    plain = build_model(SMALL.model_copy(update={"feature_norm": "none"}), 3, seed=0).eval()
    plain.classifier.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    plain(images(64, 64))
    rooted = seen[1].sign() * seen[1].abs().sqrt()
    assert torch.allclose(seen[0], 100 * nn.functional.normalize(rooted, dim=1), atol=1e-2)


def test_the_stated_sizes_of_the_paper() -> None:
    # Section 3.2.1: f1 512x28x28, f2 1024x14x14, f3 2048x7x7; 32 maps of 7x7; a vector of 65536.
    with torch.device("meta"):
        model = build_model(Model(weights="none"), 3, seed=0).eval()
        features = model.features(torch.empty(1, 1, 224, 224))
        output = model(torch.empty(1, 1, 224, 224))
    assert [list(f.shape[1:]) for f in features] == [[512, 28, 28], [1024, 14, 14], [2048, 7, 7]]
    assert output.attention.shape == (1, 32, 7, 7)
    assert model.classifier.in_features == 65536
    assert model.classifier.bias is None


LARGE = ("resnet101", "resnet152", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet101_2")


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet34", "resnet50", "resnext50_32x4d", "wide_resnet50_2"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in LARGE],
)
def test_every_resnet_builds(name: str) -> None:
    check_backbone(name)
    with torch.device("meta"):
        features = ResNetFeatures(name)
        f1, f2, f3 = features(torch.empty(1, 1, 64, 64))
    assert features.channels == (f1.shape[1], f2.shape[1], f3.shape[1])
    assert [f1.shape[-1], f2.shape[-1], f3.shape[-1]] == [8, 4, 2]
    assert features.conv1.in_channels == 1


@pytest.mark.parametrize(
    ("backbone", "stride", "side"), [("resnet18", 32, 3), ("resnet18", 16, 6), ("resnet50", 8, 12)]
)
def test_the_output_stride_sets_the_size_of_the_attention(backbone: str, stride: int, side: int) -> None:
    settings = Model(backbone=backbone, weights="none", output_stride=stride)
    model = build_model(settings, 3, seed=0).eval()
    with torch.inference_mode():
        attention = model(torch.zeros(1, 1, 96, 96)).attention
    assert attention.shape == (1, 32, side, side)
    plain = build_model(Model(backbone=backbone, weights="none"), 3, seed=0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(("stride", "side"), [(32, 6), (16, 6), (8, 12)])
def test_a_trunk_of_three_stages(stride: int, side: int, tmp_path: Path) -> None:
    settings = Model(backbone="resnet18", weights="none", output_stride=stride, stages=3, scales=3)
    model = build_model(settings, 3, seed=0).eval()
    with torch.inference_mode():
        features = model.features(torch.zeros(1, 1, 96, 96))
        attention = model(torch.zeros(1, 1, 96, 96)).attention
    assert [(f.shape[1], f.shape[-1]) for f in features] == [(64, 24), (128, 12), (256, side)]
    assert attention.shape == (1, 32, side, side)
    assert not [key for key in model.state_dict() if "layer4" in key]
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    brought = build_model(settings.model_copy(update={"weights": str(tmp_path / "resnet18.pth")}), 3, seed=0)
    assert torch.equal(brought.features.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"name": "resnet18"}, {"output_stride": 16}),
        ({"name": "resnet18"}, {"stages": 3}),
        ({"backbone": "timm:convnext_tiny"}, {"stages": 3}),
    ],
)
def test_a_trunk_that_cannot_be_changed_is_refused(settings: dict[str, str], changed: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(changed))):
        build_model(Model(weights="none", **changed, **settings), 3, seed=0)


@pytest.mark.parametrize("name", ["magsd", "bcnn", "bcnn_attention"])
def test_the_gain_widens_the_classifier_and_nothing_else(name: str) -> None:
    settings = Model(name=name, backbone="resnet18", attention_maps=2, weights="none")  # type: ignore[arg-type]
    plain = build_model(settings, 3, seed=0).state_dict()
    wide = build_model(settings.model_copy(update={"classifier_gain": 10.0}), 3, seed=0).state_dict()
    assert torch.equal(wide["classifier.weight"], 10 * plain["classifier.weight"])
    assert all(torch.equal(wide[key], plain[key]) for key in plain if key != "classifier.weight")


def test_without_a_norm_there_is_no_gain() -> None:
    settings = Model(backbone="resnet18", attention_maps=2, weights="none", feature_norm="none")
    plain = build_model(settings, 3, seed=0).classifier.weight
    assert torch.equal(
        build_model(settings.model_copy(update={"classifier_gain": 10.0}), 3, 0).classifier.weight, plain
    )


def test_scale_10_and_gain_10_give_the_trunk_the_gradient_of_scale_100() -> None:
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for scale, gain in ((100.0, 1.0), (10.0, 10.0)):
        settings = Model(
            backbone="resnet18", attention_maps=2, weights="none", feature_scale=scale, classifier_gain=gain
        )
        model = build_model(settings, 3, seed=0)
        F.cross_entropy(model(images).logits, torch.tensor([0, 1])).backward()
        gradients.append(model.features.conv1.weight.grad)
    first, second = gradients
    assert (first - second).norm() < 1e-4 * first.norm()
