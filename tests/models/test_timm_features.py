"""timm backbones without weights: three scales of any size, the same modules on top."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Model

NAMES = ["convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224"]
timm = pytest.importorskip("timm", reason="the extra magsd[timm] is not installed")


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


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "timm" else found(name, *a)
    )
    with pytest.raises(UsageError, match=r"needs timm; pip install 'magsd\[timm\]'"):
        build_model(settings("convnext_atto"), 3, 0)
