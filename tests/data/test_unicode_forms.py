"""Names that are equal to the eye."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from magsd_cli.data.unicode_forms import look_alikes, on_disk, same_path
from magsd_cli.errors import UsageError
from magsd_cli.training.folds import read_splits


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_look_alikes() -> None:
    names = ["COVID-19", "Covid-19", "covid 19", "COVID\u201119", "Normal", "normal ", "A", "AB"]
    assert look_alikes(names) == [
        ["COVID-19", "COVID\u201119", "Covid-19", "covid 19"],
        ["Normal", "normal "],
    ]
    assert look_alikes(["+", "-", "Normal", "Pneumonia"]) == []


def test_same_path() -> None:
    assert same_path(nfd("niños/é.png")) == same_path("niños /é.png") == "niños/é.png"


def test_on_disk(tmp_path: Path) -> None:
    (tmp_path / nfd("niños")).mkdir()
    (tmp_path / nfd("niños") / "é.png").touch()
    found = on_disk(tmp_path / "niños" / nfd("é.png"), tmp_path)
    assert found == tmp_path / nfd("niños") / "é.png"
    assert on_disk(tmp_path / "ü.png", tmp_path) == tmp_path / "ü.png"


def test_a_published_split_finds_both_forms(tmp_path: Path) -> None:
    table = tmp_path / "splits.csv"
    table.write_text(f"image_id,fold\n{nfd('é.png')},0\nb.png,1\n")
    assert read_splits(table, ["é.png", "b.png"], ["", ""]).tolist() == [0, 1]
    with pytest.raises(UsageError, match="is not a labelled image"):
        read_splits(table, ["e.png", "b.png"], ["", ""])
