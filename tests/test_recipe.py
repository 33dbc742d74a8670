"""Recipes: found, inherited, overridden, and refused with the nearest known key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from magsd_cli.commands.recipes import recipes_list
from magsd_cli.errors import UsageError
from magsd_cli.recipe import Recipe, load_recipe, recipe_from_values, recipe_names, recipe_text


def test_the_defaults_are_the_papers_values() -> None:
    recipe = load_recipe()
    assert (recipe.image.size, recipe.image.clahe) == (224, True)
    assert (recipe.model.backbone, recipe.model.scales, recipe.model.attention_maps) == ("resnet50", 2, 32)
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.lr) == (100, 32, 1e-2)
    assert (recipe.train.momentum, recipe.train.weight_decay) == (0.9, 1e-6)
    assert recipe.soft_distance.confidence == 0.7
    assert recipe.guide.dimming_factor == 0.1


def test_every_built_in_recipe_loads() -> None:
    assert "base" in recipe_names()
    for name in recipe_names():
        if not name.startswith("data/"):
            assert load_recipe(name).title, name


def test_a_file_extends_another_and_set_wins(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('title = "A"\n[train]\nepochs = 7\nlr = 0.5\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\ntitle = "B"\n[train]\nepochs = 8\n')
    recipe = load_recipe(str(tmp_path / "b.toml"), ["train.lr=0.25", "model.backbone=resnet18"])
    assert (recipe.title, recipe.train.epochs, recipe.train.lr) == ("B", 8, 0.25)
    assert recipe.model.backbone == "resnet18"


def test_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(UsageError, match="extends itself"):
        load_recipe(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epoch=2", "did you mean train.epochs"),
        ("model.pooling=gab", "did you mean gap"),
        ("train.lr=0", "greater than 0"),
        ("train.lr=nan", "finite"),
        ("train.batch_size=0", "greater than or equal to 1"),
        ("train.epochs=0", "greater than or equal to 1"),
        ("train.augment=['mixup', 'mixup']", "twice"),
        ("guide.mixup_threshold=[0.6, 0.4]", "guide.mixup_threshold"),
        ("train.milestones=[0.9, 0.1]", "rising"),
        ("train", "key=value"),
        ("seed.deep=1", "seed"),
    ],
)
def test_bad_values_are_refused_in_one_line(override: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("base", [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("base", ["train.epoch=2", "model.scales=5", "nonsense=1"])
    assert all(word in str(caught.value) for word in ("train.epoch", "model.scales", "nonsense"))


def test_unknown_names_get_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean base"):
        load_recipe("bsae")


def test_the_hash_follows_what_changes_a_result() -> None:
    assert load_recipe().hash() == load_recipe("base", ["title=other"]).hash()
    assert load_recipe().hash() != load_recipe("base", ["seed=1"]).hash()


@pytest.mark.parametrize(("key", "default"), [("output_stride", 32), ("classifier_gain", 1.0)])
def test_a_run_made_before_a_key_existed_keeps_its_hash(key: str, default: float) -> None:
    recipe = Recipe()
    earlier = json.loads(recipe.to_json())
    assert earlier["model"].pop(key) == default
    assert Recipe.model_validate(earlier).hash() == recipe.hash()


def test_the_defaults_of_the_first_version_keep_their_hash() -> None:
    assert Recipe().hash() == hashlib.sha256(b"{}").hexdigest()
    assert Recipe().model.feature_scale == 100


def test_a_normalised_head_is_scaled_for_its_learning_rate() -> None:
    for name in recipe_names():
        if name.startswith("data/"):
            continue
        model = load_recipe(name).model
        expected = {"authors": (100.0, 1.0), "cpu_scratch": (10.0, 1.0)}.get(name, (10.0, 10.0))
        assert (model.feature_scale, model.classifier_gain) == expected, name


def test_a_resolved_recipe_reads_back() -> None:
    import json

    recipe = load_recipe("base", ["train.epochs=3"])
    assert recipe_from_values(json.loads(recipe.to_json()), "x") == recipe
    assert "title" in recipe_text("base")


def test_the_list_names_the_papers_row_and_what_changes(capsys: pytest.CaptureFixture[str]) -> None:
    recipes_list()
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "6, GMP" in lines["table6/gmp"]
    assert "94.31 / 94.47 / 84.79" in lines["table6/gmp"]  # Table 6
    assert lines["table6/gmp"].endswith('model.pooling="gmp"')
    assert set(recipe_names()) < set(lines)
