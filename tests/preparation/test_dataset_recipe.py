"""The paper's data sets as recipes: Table 1's counts, named sources, classes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from magsd_cli.data.layouts import LAYOUTS, Listing, Record
from magsd_cli.errors import UsageError
from magsd_cli.preparation.dataset_recipe import compare_counts, load_dataset_recipe, named_sources, select


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("data/a", {"COVID-19": 90, "Pneumonia": 168}),
        ("data/b", {"COVID-19": 462, "Pneumonia": 1567, "Normal": 1602}),
        (
            "data/c",
            {"COVID-19": 462, "Viral pneumonia": 1449, "Bacterial pneumonia": 2816, "Normal": 1602},
        ),
        (
            "data/c_open",
            {"COVID-19": 462, "Viral pneumonia": 1449, "Bacterial pneumonia": 2816, "Normal": 1602},
        ),
        ("data/localization", {"COVID-19": 13, "Pneumonia": 118}),
    ],
)
def test_table_1(name: str, counts: dict[str, int]) -> None:
    recipe = load_dataset_recipe(name)
    assert recipe.classes == counts
    assert {source.layout for source in recipe.sources.values()} <= set(LAYOUTS)


def test_named_sources() -> None:
    recipe = load_dataset_recipe("data/a")
    pairs = ["chestxray8=/b=c", "covid-chestxray=/a"]
    assert named_sources("data/a", recipe, pairs) == {
        "chestxray8": Path("/b=c"),
        "covid-chestxray": Path("/a"),
    }
    with pytest.raises(UsageError, match="--source chestxray8=PATH"):
        named_sources("data/a", recipe, pairs[1:])
    for wrong in ("nih=/a", "chestxray8"):
        with pytest.raises(UsageError, match="has the sources covid-chestxray, chestxray8"):
            named_sources("data/a", recipe, [wrong])


def test_only_what_the_recipe_asks_for() -> None:
    records = [
        Record(Path("/1"), "1", "Pneumonia"),
        Record(Path("/2"), "2", "Pneumonia"),
        Record(Path("/3"), "3", "Normal"),
    ]
    boxes = pd.DataFrame({"image_id": ["1", "2"], "label": ["Pneumonia", "Effusion"]})
    source = load_dataset_recipe("data/localization").sources["chestxray8"]
    chosen = select(Listing("chestxray8", records, boxes=boxes), source).records
    assert [record.problem and record.problem[0] for record in chosen] == [None, "no_box", "left_out"]


def test_comparison() -> None:
    recipe = load_dataset_recipe("data/a")
    assert compare_counts(recipe, {"COVID-19": 12}) == "COVID-19 12 of 90, Pneumonia 0 of 168"


def test_what_is_no_data_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a data recipe"):
        load_dataset_recipe("base")
    odd = tmp_path / "odd.toml"
    odd.write_text('title = "x"\n[classes]\nA = 1\n[sources.s]\nlayout = "folder"\nlabels = { B = "B" }\n')
    with pytest.raises(UsageError, match="A, B: must stand under classes"):
        load_dataset_recipe(str(odd))
