"""Starting weights: ImageNet's from torch.hub's folder, or a file."""

from __future__ import annotations

import hashlib
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision

from magsd_cli.errors import ArtifactError
from magsd_cli.models import weights as weights_room
from magsd_cli.models.build import build_model
from magsd_cli.models.weights import read_state_dict
from magsd_cli.recipe import Model

SMALL = Model(backbone="resnet18", attention_maps=2, weights="none")


@pytest.fixture(scope="module")
def trunk() -> dict[str, torch.Tensor]:
    """The state dict of a torchvision ResNet18 with 1000 classes, as its pretrained files hold."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


def _settings(path: Path | str, **changes: Any) -> Model:
    return SMALL.model_copy(update={"weights": str(path), **changes})


def test_the_trunk_is_filled_and_the_stem_sums_the_colours(
    tmp_path: Path, trunk: dict[str, torch.Tensor]
) -> None:
    torch.save(trunk, tmp_path / "trunk.pth")
    state = build_model(_settings(tmp_path / "trunk.pth"), 3, seed=0).state_dict()
    red, green, blue = trunk["conv1.weight"].unbind(1)
    assert torch.allclose(state["features.conv1.weight"][:, 0], red + green + blue, atol=1e-6)
    assert torch.equal(state["features.layer4.1.conv2.weight"], trunk["layer4.1.conv2.weight"])
    assert torch.equal(state["classifier.weight"], build_model(SMALL, 3, 0).state_dict()["classifier.weight"])


def test_a_fresh_stem_keeps_its_own_filters(tmp_path: Path, trunk: dict[str, torch.Tensor]) -> None:
    torch.save(trunk, tmp_path / "trunk.pth")
    state = build_model(_settings(tmp_path / "trunk.pth", stem="fresh"), 3, seed=0).state_dict()
    untrained = build_model(SMALL, 3, seed=0).state_dict()
    assert torch.equal(state["features.conv1.weight"], untrained["features.conv1.weight"])
    assert torch.equal(state["features.layer1.0.conv1.weight"], trunk["layer1.0.conv1.weight"])


def test_a_summed_stem_answers_grey_as_the_colour_stem_does(trunk: dict[str, torch.Tensor]) -> None:
    own = {"conv1.weight": torch.zeros(64, 1, 7, 7)}
    fitted = weights_room.fit_stem({"conv1.weight": trunk["conv1.weight"]}, own, "sum_rgb")
    grey = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    colour = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), trunk["conv1.weight"])
    assert torch.allclose(torch.nn.functional.conv2d(grey, fitted["conv1.weight"]), colour, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_whole_network_comes_back_to_the_bit(tmp_path: Path, suffix: str) -> None:
    state = build_model(SMALL, 3, seed=5).state_dict()
    path = tmp_path / f"whole{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    again = build_model(_settings(path), 3, seed=6).state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_old_state_dicts_without_batch_counters_are_taken(
    tmp_path: Path, trunk: dict[str, torch.Tensor]
) -> None:
    old = {name: value for name, value in trunk.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    build_model(_settings(tmp_path / "old.pth"), 3, seed=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), "1 missing, such as layer1.0.conv1.weight"),
        (lambda s: s.update({"layer9.weight": torch.zeros(1)}), "1 unknown, such as layer9.weight"),
        (lambda s: s.update({"bn1.weight": torch.zeros(3)}), r"such as bn1.weight: \[3\].*has \[64\]"),
    ],
)
def test_a_misfit_is_explained_in_one_line(
    tmp_path: Path, trunk: dict[str, torch.Tensor], change: Any, words: str
) -> None:
    state = dict(trunk)
    change(state)
    torch.save(state, tmp_path / "misfit.pth")
    with pytest.raises(ArtifactError, match=words) as caught:
        build_model(_settings(tmp_path / "misfit.pth"), 3, seed=0)
    assert "\n" not in str(caught.value)


def test_another_number_of_classes_does_not_fit(tmp_path: Path) -> None:
    torch.save(build_model(SMALL, 4, seed=0).state_dict(), tmp_path / "four.pt")
    with pytest.raises(ArtifactError, match=r"classifier.weight: \[4, 1024\].*has \[3, 1024\]"):
        build_model(_settings(tmp_path / "four.pt"), 3, seed=0)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ArtifactError, match="never run"):
        read_state_dict(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors", "empty.pth"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, trunk: dict[str, torch.Tensor]) -> None:
    torch.save(trunk, tmp_path / "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    (tmp_path / name).write_bytes(b"" if name.startswith("empty") else whole[:1000])
    with pytest.raises(ArtifactError):
        read_state_dict(tmp_path / name)


def test_anything_but_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": torch.zeros(2)}, tmp_path / "mixed.pth")
    with pytest.raises(ArtifactError, match="not a state dict"):
        read_state_dict(tmp_path / "mixed.pth")


def test_a_missing_file_says_what_may_be_given() -> None:
    with pytest.raises(ArtifactError, match=r"no such file; give the path .* or imagenet, or none"):
        build_model(_settings("nowhere.pth"), 3, seed=0)


def test_imagenet_offline_names_the_file_the_folder_and_the_way_out(
    hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    patience = []

    def dead(*_: Any, **__: Any) -> None:
        patience.append(socket.getdefaulttimeout())
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(torch.hub, "urlopen", dead)
    with pytest.raises(ArtifactError) as caught:
        build_model(Model(), 3, seed=0)
    message = str(caught.value)
    assert all(part in message for part in ("resnet50-0676ba61.pth", str(hub), "--set model.weights=none"))
    assert "no network here" in message
    assert "\n" not in message
    assert caught.value.exit_code == 5
    assert patience == [weights_room.TIMEOUT_S]
    assert socket.getdefaulttimeout() is None
    assert list(hub.iterdir()) == [], "a partial file was left"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "fetching the ImageNet weights of resnet50 from "
        "https://download.pytorch.org/models/resnet50-0676ba61.pth (98 MB; BSD-3-Clause, as torchvision"
    )
    assert err.count("\n") == 1


@pytest.mark.parametrize("wish", ["1", "yes"])
def test_where_connections_are_forbidden_none_is_tried(
    hub: Path, monkeypatch: pytest.MonkeyPatch, wish: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAGSD_OFFLINE", wish)
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_: pytest.fail("a connection was tried"))
    with pytest.raises(ArtifactError) as caught:
        build_model(Model(), 3, seed=0)
    message = str(caught.value)
    assert all(part in message for part in ("resnet50-0676ba61.pth", str(hub), "recipe cpu", "--offline"))
    assert caught.value.exit_code == 5
    assert capsys.readouterr() == ("", "")


def test_imagenet_is_downloaded_once_checked_and_found_again(
    hub: Path, monkeypatch: pytest.MonkeyPatch, trunk: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(trunk, tmp_path / "served.pth")
    digest = hashlib.sha256((tmp_path / "served.pth").read_bytes()).hexdigest()
    (tmp_path / "served.pth").rename(tmp_path / f"resnet18-{digest[:8]}.pth")
    served = (tmp_path / f"resnet18-{digest[:8]}.pth").as_uri()
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    monkeypatch.setattr(weights.value, "url", served)
    settings = SMALL.model_copy(update={"weights": "imagenet"})
    first = build_model(settings, 3, seed=0).state_dict()
    assert [path.name for path in hub.iterdir()] == [f"resnet18-{digest[:8]}.pth"]
    assert torch.equal(first["features.layer2.0.conv1.weight"], trunk["layer2.0.conv1.weight"])
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_: pytest.fail("it was there already"))
    again = build_model(settings, 3, seed=0).state_dict()
    assert all(torch.equal(again[name], value) for name, value in first.items())


def test_a_damaged_imagenet_file_is_named(hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").write_bytes(b"half a file")
    with pytest.raises(ArtifactError, match=r"resnet18-f37072fd.pth: is damaged .* delete it"):
        build_model(SMALL.model_copy(update={"weights": "imagenet"}), 3, seed=0)
