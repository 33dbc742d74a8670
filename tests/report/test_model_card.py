from __future__ import annotations

import csv

import pytest

from magsd_cli.render.document import Caution, Table
from magsd_cli.render.markdown import render_markdown
from magsd_cli.report.model_card import GUIDELINES, ITEMS, NOT_REPORTED, SECTIONS, checklist, model_card


@pytest.mark.parametrize(("guideline", "count"), [("TRIPOD+AI", 52), ("CLAIM 2024", 44)])
def test_every_item_of_the_guideline_stands_once_and_in_order(guideline: str, count: int) -> None:
    items = [row[0] for row in checklist(guideline, {}).rows]
    assert len(items) == len(set(items)) == count
    numbers = [int("".join(c for c in item if c.isdigit())) for item in items]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, numbers[-1] + 1))


def test_what_is_not_known_is_not_reported() -> None:
    table = checklist("CLAIM 2024", {"software": "torch 2"})
    assert table.caption == "1 of 44 items are filled."
    here = {row[0]: row[2] for row in table.rows}
    assert here["23"] == "torch 2"
    assert {text for item, text in here.items() if item != "23"} == {NOT_REPORTED}


def test_the_card_begins_with_what_it_is_not_for() -> None:
    card = model_card("run", {"model": "a|network"}, [Caution("Beware.")])
    text = render_markdown(card)
    assert "Not for clinical diagnosis" in text[:120]
    assert "- Beware." in text
    assert len([block for block in card.blocks if isinstance(block, Table)]) == len(GUIDELINES)
    assert r"a\|network" in text


def test_the_sections_name_facts_of_the_checklists() -> None:
    with ITEMS.open(encoding="utf-8", newline="") as file:
        facts = {row["fact"] for row in csv.DictReader(file)}
    assert {key for keys in SECTIONS.values() for key in keys} <= facts
