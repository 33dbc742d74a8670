"""Networks by name: the same seed gives the same bits, and nobody else's generator moves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from magsd_cli.errors import UsageError
from magsd_cli.models.build import MODELS, build_model, first_weights_origin
from magsd_cli.recipe import Model

SMALL = Model(backbone="resnet18", attention_maps=4, weights="none")


def test_the_seed_decides_every_weight() -> None:
    one, same = build_model(SMALL, 3, seed=7).state_dict(), build_model(SMALL, 3, seed=7).state_dict()
    other = build_model(SMALL, 3, seed=8).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["classifier.weight"], other["classifier.weight"])


def test_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    build_model(SMALL, 3, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet5", "resnet50"), ("vgg16", "resnet18"), ("timm:convnext_tine", "convnext_tiny")],
)
def test_an_unknown_backbone_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"model.backbone={name}: no such backbone; choose .*{near}"):
        build_model(SMALL.model_copy(update={"backbone": name}), 3, seed=0)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_there_is_one_logit_a_class(classes: int) -> None:
    network = build_model(SMALL, classes, seed=0).eval()
    assert network(torch.zeros(1, 1, 64, 64)).logits.shape == (1, classes)


@pytest.mark.parametrize("name", list(MODELS))
def test_the_origin_of_the_first_weights_is_known_for_every_network(name: str) -> None:
    before = torch.get_rng_state()
    origin = first_weights_origin(Model(name=name))  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    if name in ("covidnet", "unet"):
        assert origin is None
        return
    assert origin is not None
    assert origin.source.startswith("https://download.pytorch.org/models/")
    assert origin.file.endswith(".pth")


def test_a_state_dict_of_ones_own_is_named_by_its_file_and_hash(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"abc")
    origin = first_weights_origin(SMALL.model_copy(update={"weights": str(tmp_path / "mine.pth")}))
    assert origin is not None
    assert (origin.source, origin.file, origin.sha256) == (
        "file",
        "mine.pth",
        hashlib.sha256(b"abc").hexdigest(),
    )
    assert first_weights_origin(SMALL) is None
