"""timm backbones without weights: three scales of any size, the same modules on top."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.models.build import build_model
from magsd_cli.models.timm_features import DILATED, TimmFeatures
from magsd_cli.recipe import Model

NAMES = ["convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224"]


def settings(name: str, **changes: Any) -> Model:
    return Model(backbone=f"timm:{name}", attention_maps=4, weights="none", **changes)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_at_any_size(name: str) -> None:
    with torch.device("meta"):
        model = build_model(settings(name), 3, seed=0).eval()
        for size, side in [(64, 2), (101, 4), (224, 7)]:
            output = model(torch.empty(2, 1, size, size))
            assert output.logits.shape == (2, 3)
            # 101 is 3.2 times 32: rounded up, or down by convolutions without padding
            assert output.attention.shape in [(2, 4, side, side), (2, 4, size // 32, size // 32)]


def test_it_trains_and_its_seed_decides() -> None:
    one, same = (build_model(settings("convnext_atto"), 3, seed=1) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True)
    )
    one(torch.randn(2, 1, 64, 64)).logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in one.parameters())


def test_a_state_dict_with_three_channels_is_summed(tmp_path: Path) -> None:
    published = timm.create_model("convnext_atto", features_only=True, out_indices=(-3, -2, -1)).state_dict()
    torch.save(published, tmp_path / "atto.pth")
    model = build_model(
        settings("convnext_atto").model_copy(update={"weights": str(tmp_path / "atto.pth")}), 3, 0
    )
    ours = model.features.network.state_dict()["stem_0.weight"]
    assert torch.allclose(ours, published["stem_0.weight"].sum(1, keepdim=True), atol=1e-6)


def test_offline_it_says_how_to_bring_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ArtifactError, match=r"timm's weights of convnext_atto .* give its path as model\.weights"
    ):
        build_model(settings("convnext_atto").model_copy(update={"weights": "imagenet"}), 3, 0)
    assert constants.HF_HUB_OFFLINE is False


def test_the_fetch_is_announced_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ArtifactError):
        build_model(settings("convnext_atto").model_copy(update={"weights": "imagenet"}), 3, 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(
        "fetching timm's weights of convnext_atto from huggingface.co/timm/convnext_atto.d2_in1k "
        "(about 13 MB; licence: apache-2.0)"
    )


@pytest.mark.parametrize(("stride", "sides"), [(32, (16, 8, 4)), (16, (16, 8, 8)), (8, (16, 16, 16))])
def test_the_output_stride_sets_the_size_of_the_last_features(stride: int, sides: tuple[int, ...]) -> None:
    model = build_model(settings("tf_efficientnet_lite0", output_stride=stride), 3, seed=0).eval()
    with torch.inference_mode():
        images = torch.zeros(1, 1, 128, 128)
        assert tuple(scale.shape[-1] for scale in model.features(images)) == sides
        assert model(images).attention.shape == (1, 4, sides[-1], sides[-1])
    plain = build_model(settings("tf_efficientnet_lite0"), 3, seed=0).state_dict()
    assert all(torch.equal(value, plain[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("module", DILATED)
def test_a_network_of_each_family_has_the_strides(module: str) -> None:
    name = min(timm.list_models(module=module), key=len)
    with torch.device("meta"):
        for stride in (16, 8):
            features = TimmFeatures(name, stride).eval()(torch.empty(1, 1, 128, 128))
            assert features[-1].shape[-2:] == (128 // stride, 128 // stride), name


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "densenet121", "vgg11", "hrnet_w18"])
def test_a_stride_that_a_network_does_not_have_is_refused(name: str) -> None:
    words = f"output_stride=16: timm:{name} has only 32; .* backbone of timm's .*convnext.*efficientnet"
    with pytest.raises(UsageError, match=words):
        build_model(settings(name, output_stride=16), 3, seed=0)


def test_without_timm_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "timm" else found(name, *a)
    )
    with pytest.raises(UsageError, match="needs timm, which is missing"):
        build_model(settings("convnext_atto"), 3, 0)
