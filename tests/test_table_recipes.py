"""The recipes of the paper's tables: one for each row, each differing from `paper` in what its row names."""

from __future__ import annotations

import pytest

from magsd_cli.recipe import load_recipe, recipe_names, resolved_keys

ROWS = {
    3: {
        "VGG16", "ResNet18", "ResNet50", "InceptionV3", "Narin (ResNet)", "Narin (InceptionV3)", "COVID-Net",
        "BCNN", "BCNN (Attention)", "FPN", "U-Net", "MAG-SD (0AUG)", "MAG-SD (proposed)",
    },
    4: {"CLAHE", "w/o CLAHE"},
    5: {"7x7", "7x7 + 14x14", "7x7 + 14x14 + 28x28"},
    6: {"Attention pooling", "GAP", "GMP"},
    7: {"AM", "AM + AD", "AM + AD + AP"},
    8: {"L2", "Soft distance"},
}  # fmt: skip
SECOND_READINGS = (
    (6, "GAP"),
    (6, "GMP"),
    (8, "L2"),
)  # rows with a second recipe, what the authors' code does
OF_TABLES = [name for name in recipe_names() if name.startswith("table")]


def test_every_row_has_its_recipe() -> None:
    found: dict[int, list[str]] = {table: [] for table in ROWS}
    for name in OF_TABLES:
        paper = load_recipe(name).paper
        assert paper is not None
        assert name.startswith(f"table{paper.table}/")
        found[paper.table].append(paper.row)
    for table, row in SECOND_READINGS:
        found[table].remove(row)
    assert {table: sorted(rows) for table, rows in found.items()} == {t: sorted(r) for t, r in ROWS.items()}


@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("table4/no_clahe", {"image.clahe"}),
        ("table5/one_scale", {"model.scales"}),
        ("table5/two_scales", set()),
        ("table5/three_scales", {"model.scales"}),
        ("table6/gap", {"model.pooling"}),
        ("table6/gmp", {"model.pooling"}),
        ("table6/gap_linear", {"model.pooling", "model.feature_norm", "model.classifier_bias"}),
        ("table6/gmp_linear", {"model.pooling", "model.feature_norm", "model.classifier_bias"}),
        ("table7/mixup", {"train.augment"}),
        ("table7/mixup_dimming", {"train.augment"}),
        ("table8/l2", {"train.loss"}),
        ("table8/mean_cross_entropy", {"train.loss"}),
        ("table8/soft_distance", set()),
    ],
)
def test_an_ablation_changes_one_thing(name: str, differs: set[str]) -> None:
    proposed = dict(resolved_keys(load_recipe("table3/magsd")))
    this = dict(resolved_keys(load_recipe(name)))
    changed = {key for key in this if this[key] != proposed.get(key)}
    assert {key for key in changed if key != "title" and not key.startswith("paper")} == differs


def test_rows_are_the_proposed_model_where_the_paper_says_so() -> None:
    same = ["table4/clahe", "table5/two_scales", "table6/attention_pooling", "table7/all_three"]
    assert {load_recipe(name).hash() for name in same} == {load_recipe("table3/magsd").hash()}
