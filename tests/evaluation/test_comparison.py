"""Which rows of the paper a run stands for when runs are named one by one."""

from __future__ import annotations

from magsd_cli.evaluation.comparison import papers_rows
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
