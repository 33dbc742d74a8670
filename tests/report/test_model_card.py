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
    assert table.caption == "1 of 44 items are filled, 0 of them in part."
    here = {row[0]: row[2] for row in table.rows}
    assert here["23"] == "torch 2"
    assert all(text.startswith(NOT_REPORTED) for item, text in here.items() if item != "23")


def test_what_answers_an_item_in_part_leaves_the_rest_open_in_words() -> None:
    table = checklist("TRIPOD+AI", {"partition": "5 parts.", "sources": "Images by source: a 3."})
    here = {row[0]: row[2] for row in table.rows}
    assert here["5a"] == "Images by source: a 3. Left open: why these data, and whom they represent."
    assert here["16"].startswith("not reported: tested images are other parts of the same collection")
    assert here["12a"] == "5 parts."
    assert table.caption == "3 of 52 items are filled, 2 of them in part."


def test_the_card_begins_with_what_it_is_not_for() -> None:
    card = model_card("run", {"model": "a|network"}, [Caution("Beware.")])
    text = render_markdown(card)
    assert "Not for clinical diagnosis" in text[:120]
    assert "- Beware." in text
    assert len([block for block in card.blocks if isinstance(block, Table)]) == len(GUIDELINES)
    assert r"a\|network" in text


def test_the_sections_name_facts_of_the_checklists() -> None:
    with ITEMS.open(encoding="utf-8", newline="") as file:
        facts = {key for row in csv.DictReader(file) for key in row["fact"].split(" + ")}
    assert {key for keys in SECTIONS.values() for key in keys} <= facts
