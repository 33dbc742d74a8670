"""Controls with maps: the film's brightness, and networks before training, without a connection."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from magsd_cli.localization.controls import maps as controls
from magsd_cli.localization.controls.maps import brightness, control_engines
from magsd_cli.localization.views import View
from magsd_cli.recipe import load_recipe

SMALL = ["image.size=64", "model.attention_maps=4"]
LITE0 = [*SMALL, "model.backbone=timm:tf_efficientnet_lite0", "model.weights=imagenet"]


def model(keys: list[str]) -> Any:
    recipe = load_recipe("base", keys).model_dump(mode="json")
    return SimpleNamespace(recipe=recipe, name="run", classes=("A", "B"), folds=(0, 1))


def test_brightness_is_the_mean_gray_of_each_cell() -> None:
    shown = np.zeros((64, 96), np.uint8)
    shown[:2, :3] = 255
    found = brightness(View(Path("x"), shown=shown, shape=(640, 960)))
    assert found.shape == (32, 32)
    assert found[0, 0] == 255
    assert found.sum() == 255
    assert brightness(View(Path("x"), shown=shown[:5, :7], shape=(5, 7))).shape == (5, 7)


def test_a_pretrained_recipe_has_its_first_weights_as_a_control_too() -> None:
    engines, missing = control_engines(model(LITE0))
    assert set(engines) == {"untrained", "start"}
    assert missing == {}
    image = np.random.default_rng(0).integers(0, 256, (1, 1, 64, 64), np.uint8)
    random, first = (engines[name](image, (0,)).attention for name in ("untrained", "start"))
    assert random is not None
    assert first is not None
    assert not np.allclose(random, first)
    again, _ = control_engines(model(LITE0))
    np.testing.assert_array_equal(first, again["start"](image, (0,)).attention)


def test_from_scratch_there_is_one_start() -> None:
    engines, missing = control_engines(model([*SMALL, "model.backbone=resnet18", "model.weights=none"]))
    assert set(engines) == {"untrained"}
    assert missing == {}


def test_weights_that_are_not_here_are_not_fetched(tmp_path: Path) -> None:
    gone = tmp_path / "gone.safetensors"
    keys = [*SMALL, "model.backbone=resnet18", f"model.weights={gone}"]
    engines, missing = control_engines(model(keys))
    assert set(engines) == {"untrained"}
    assert str(gone) in missing["start"]


def test_without_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "find_spec", lambda _name: None)
    engines, missing = control_engines(model(LITE0))
    assert engines == {}
    assert set(missing) == {"untrained", "start"}
    assert "torch" in missing["untrained"]
