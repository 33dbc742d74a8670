"""Which rows of the paper a run stands for when runs are named one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from magsd_cli.evaluation.comparison import by_repeats, papers_rows
from magsd_cli.recipe import load_recipe


def test_a_run_stands_for_the_rows_whose_recipes_are_the_same() -> None:
    small = ["model.backbone=resnet18"]
    recipes = [
        load_recipe("table3/magsd"),
        load_recipe("table3/resnet50"),
        load_recipe("table4/clahe", small),
        load_recipe("table5/one_scale", small),
        load_recipe("cpu"),
    ]
    assert papers_rows(recipes) == [
        [(3, "MAG-SD (proposed)")],
        [(3, "ResNet50")],
        [(4, "CLAHE"), (5, "7x7 + 14x14")],  # the nearest to table 5's other row; nothing of table 6 is there
        [(5, "7x7")],
        [],
    ]


def left_by(seed: int, *changes: str, **of_run: object) -> Any:
    """What `by_repeats` asks of a run's results."""
    recipe = load_recipe("table3/resnet50", [f"seed={seed}", *changes])
    values = {"cache_digest": "d", "kind": "cv", "fold_count": 5, "held_out": ()} | of_run
    return SimpleNamespace(run=SimpleNamespace(recipe=recipe, **values))


def test_repeats_differ_in_their_seed_alone() -> None:
    repeats = [left_by(2), left_by(0), left_by(1, "title=another")]
    strangers = [
        left_by(3, "train.lr=0.5"),
        left_by(4, cache_digest="other"),
        left_by(5, fold_count=3),
        left_by(6, kind="train"),
        left_by(7, held_out=("a", "b")),
        left_by(1),  # a seed that is there already
    ]
    found = by_repeats([repeats[0], *strangers, *repeats[1:]])
    assert [each.run.recipe.seed for each in found[0]] == [0, 1, 2]
    assert found[0][0] is repeats[1]
    assert sorted(len(group) for group in found) == [1, 1, 1, 1, 1, 1, 3]
