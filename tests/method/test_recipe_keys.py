"""No key of a recipe is idle: changing any one of them changes what a training step does."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from magsd_cli.method.classic import training_images
from magsd_cli.method.step import STEPS
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Classic, Guide, Model, Recipe, SoftDistance, recipe_from_values

BASE: dict[str, dict[str, Any]] = {
    "model": {"backbone": "resnet18", "attention_maps": 4, "weights": "none", "feature_scale": 10.0},
    "train": {"channels_last": False},
    "classic": {
        "choose": "each",
        "probability": 1.0,
        "operations": [
            "brightness", "contrast", "crop", "rotation", "translation", "horizontal_flip", "vertical_flip",
        ],
    },
}  # fmt: skip
SURE: dict[str, Any] = {"soft_distance.confidence": 0.0}  # P is always kept
UNSURE: dict[str, Any] = {"soft_distance.confidence": 1.0}  # P is always replaced

CHANGES: list[tuple[str, Any, dict[str, Any]]] = [
    ("model.backbone", "resnet34", {}),
    ("model.scales", 3, {}),
    ("model.output_stride", 16, {}),
    ("model.stages", 3, {}),
    ("model.attention_maps", 5, {}),
    ("model.pooling", "gmp", {}),
    ("model.attention_norm_eps", 0.5, {}),
    ("model.attention_downsample", "max", {}),
    ("model.feature_norm", "none", {}),
    ("model.feature_scale", 5.0, {}),
    ("model.classifier_gain", 3.0, {}),
    ("model.classifier_bias", True, {}),
    ("train.step", "plain", {}),
    ("train.augment", ["mixup", "dimming"], {}),
    ("train.loss", "l2", {}),
    ("train.loss", "mean_cross_entropy", {}),
    ("train.label_smoothing", 0.1, {}),
    ("train.precision", "bf16", {}),
    ("guide.map_choice", "uniform", {}),
    ("guide.mixup_threshold", [0.8, 0.9], {}),
    ("guide.dimming_threshold", [0.8, 0.9], {}),
    ("guide.box_padding", 0.0, {}),
    ("guide.mixup_gamma", 0.3, {}),
    ("guide.dimming_factor", 0.001, {}),
    ("soft_distance.confidence", 1.0, SURE),
    ("soft_distance.replace_wrong", True, SURE),
    ("soft_distance.smoothing", 0.01, UNSURE),
    ("soft_distance.over_views", "sum", {}),
    ("soft_distance.weight", 2.0, {}),
]
CLASSIC: list[tuple[str, Any, dict[str, Any]]] = [
    ("classic.enabled", False, {}),
    ("classic.operations", ["brightness"], {}),
    ("classic.choose", "random_number", {}),
    ("classic.choose", "all", {"classic.probability": 0.5}),
    ("image.z_score", "column", {}),
    ("classic.probability", 0.5, {}),
    ("classic.brightness", [0.2, 0.3], {}),
    ("classic.contrast", [0.2, 0.3], {}),
    ("classic.crop_area", [0.2, 0.3], {}),
    ("classic.rotation", [-30.0, -20.0], {}),
    ("classic.translation", 0.4, {}),
]
# model.name: tests/models/test_build.py; model.weights and model.stem: tests/models/test_weights.py;
ELSEWHERE = {"model.name", "model.weights", "model.stem"}


def recipe(changes: dict[str, Any]) -> Recipe:
    values: dict[str, dict[str, Any]] = {section: dict(keys) for section, keys in BASE.items()}
    for key, value in changes.items():
        section, name = key.split(".")
        values.setdefault(section, {})[name] = value
    return recipe_from_values(values, "test")


def pixels() -> torch.Tensor:
    return torch.randint(
        0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@cache
def fingerprint(changes: tuple[tuple[str, Any], ...]) -> list[float]:
    """Loss and gradients of one step on two images."""
    settings = recipe(dict(changes))
    model = build_model(settings.model, 3, seed=0)
    with torch.no_grad():  # one map outshines the others, so that how maps are drawn must show
        for branch in model.branches:
            branch.norm.weight[0] = 100.0
    draws = torch.Generator().manual_seed(2)
    plain = recipe({"classic.enabled": False})
    views = training_images(pixels(), plain, draws)
    result = STEPS[settings.train.step](model, views, torch.tensor([0, 1]), settings, draws)
    gradients = [p.grad.abs().sum().item() for p in model.parameters() if p.grad is not None]
    return [result.loss.item(), sum(gradients)]


def frozen(changes: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in changes.items())


@pytest.mark.parametrize(("key", "value", "given"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_key_changes_the_step(key: str, value: Any, given: dict[str, Any]) -> None:
    before, after = fingerprint(frozen(given)), fingerprint(frozen({**given, key: value}))
    assert before != pytest.approx(after, rel=1e-4)


@pytest.mark.parametrize(("key", "value", "given"), CLASSIC, ids=[change[0] for change in CLASSIC])
def test_a_key_changes_the_images(key: str, value: Any, given: dict[str, Any]) -> None:
    before, after = (
        training_images(pixels(), recipe(changes), torch.Generator().manual_seed(2))
        for changes in (given, {**given, key: value})
    )
    assert (before - after).abs().max() > 1e-3


def test_every_key_of_the_method_is_among_them() -> None:
    tested = {key for key, _, _ in CHANGES + CLASSIC}
    sections = {"model": Model, "guide": Guide, "soft_distance": SoftDistance, "classic": Classic}
    known = {f"{section}.{key}" for section, of in sections.items() for key in of.model_fields}
    assert known - tested == ELSEWHERE
