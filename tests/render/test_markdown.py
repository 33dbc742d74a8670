from __future__ import annotations

import pytest

from magsd_cli.render.document import (
    Annex,
    Bullets,
    Caution,
    Commands,
    Document,
    Drawing,
    Figure,
    Heading,
    Paragraph,
    Table,
    code,
)
from magsd_cli.render.markdown import escape, render_markdown

HOSTILE = "a|b `c` <script>alert(1)</script>\nd *e* [f](g) \u202e"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("`x`", r"\`x\`"),
        ("<script>", "&lt;script&gt;"),
        ("two\nlines", r"two\\nlines"),
        ("# not a heading", r"\# not a heading"),
        ("- not a list", r"\- not a list"),
        ("1. not a list", r"1\. not a list"),
        ("AT&T", "AT&amp;T"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_every_block_escapes() -> None:
    blocks = (
        Heading(HOSTILE),
        Paragraph(HOSTILE),
        Caution(HOSTILE),
        Bullets((HOSTILE,)),
        Table(HOSTILE, (HOSTILE, "b"), ((HOSTILE, HOSTILE),)),
        Figure("picture", b"", HOSTILE, HOSTILE),
    )
    text = render_markdown(Document(HOSTILE, blocks))
    assert "<script" not in text
    assert "\u202e" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    for row in rows:
        assert row.replace("\\|", "").count("|") == 3


def test_the_shape_of_a_document() -> None:
    blocks = (
        Caution("look out"),
        Heading("Numbers"),
        Table("Rates", ("class", "n"), (("Normal", "3"),)),
        Figure("roc", Drawing(b"png"), "a curve", "The curve."),
        Commands(("magsd report x",)),
    )
    assert render_markdown(Document("Report", blocks)) == (
        "# Report\n\n> **Warning.** look out\n\n## Numbers\n\nRates\n\n| class | n |\n| --- | ---: |\n"
        "| Normal | 3 |\n\n![a curve](figures/roc.png)\n\n*The curve.*\n\n```sh\nmagsd report x\n```\n"
    )


def test_commands_with_backticks_stay_in_their_fence() -> None:
    text = render_markdown(Document("t", (Commands(("echo ```", "second")),)))
    assert "````sh\necho ```\nsecond\n````" in text


def test_code_is_a_span_and_other_backticks_are_words() -> None:
    block = Paragraph(f"type {code('magsd report `x`')}, not `this`")
    assert render_markdown(Document("t", (block,))).splitlines()[2] == (
        "type `` magsd report `x` ``, not \\`this\\`"
    )


def test_numbers_in_brackets_are_not_parted() -> None:
    text = render_markdown(Document("t", (Paragraph("It is 5.0 [1.0 to 9.0]."),)))
    assert "5.0 \\[1.0\u00a0to\u00a09.0\\]." in text


def test_an_annex_is_a_file_beside_it() -> None:
    document = Document("t", (Annex("Model card", "model_card.md", Document("c", (Paragraph("x"),))),))
    assert render_markdown(document) == "# t\n\n## Model card\n\n[model\\_card.md](model_card.md)\n"
    assert [annex.file for annex in document.annexes()] == ["model_card.md"]
