from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Annex,
    Bullets,
    Caution,
    Commands,
    Document,
    Drawing,
    Figure,
    Gallery,
    GalleryCase,
    Heading,
    Link,
    Paragraph,
    Table,
    code,
)
from magsd_cli.render.html import _raster, render_html

HOSTILE = '"><script>alert(1)</script>\n\u202e'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _page() -> str:
    blocks = (
        Caution(HOSTILE),
        Heading("Same"),
        Paragraph(HOSTILE),
        Heading("Same"),
        Bullets((HOSTILE,)),
        Commands((HOSTILE,)),
        Table(HOSTILE, ("a", "b"), ((HOSTILE, HOSTILE),)),
        Figure("picture", Drawing(b"\x89PNG"), HOSTILE, HOSTILE),
    )
    return render_html(Document(HOSTILE, blocks))


def test_the_page_is_balanced_and_harmless() -> None:
    page = _page()
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in [tag for tag, _ in parser.tags]
    assert "\u202e" not in page
    assert NOT_FOR_DIAGNOSIS in page


def test_the_page_needs_no_network_and_the_picture_is_inside() -> None:
    page = _page()
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert "url(" not in page
    assert "@import" not in page
    assert base64.b64encode(b"\x89PNG").decode() in page


def _gallery_page(name: str = HOSTILE) -> str:
    cases = (
        GalleryCase(name, 0, 1, 0.756, 0, b"\xff\xd8"),
        GalleryCase("plain", 1, 1, 0.9, 1),
    )
    return render_html(Document("t", (Heading("Cases"), Gallery((name, "b"), cases, 7))))


def test_the_gallery_is_a_plain_list_with_labelled_controls() -> None:
    page = _gallery_page()
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert "Shown are 2 of 7 tested images, 1 of them called wrong." in page
    items = [attributes for tag, attributes in parser.tags if tag == "li" and "data-right" in attributes]
    assert [(item["data-right"], item["data-confidence"]) for item in items] == [
        ("no", "75.60"),
        ("yes", "90.00"),
    ]
    assert not any("hidden" in item for item in items)
    forms = [attributes for tag, attributes in parser.tags if tag == "form"]
    assert "hidden" in forms[0]  # without JavaScript it would do nothing
    controls = {a["id"] for tag, a in parser.tags if tag in {"input", "select"}}
    assert controls == {a["for"] for tag, a in parser.tags if tag == "label"}
    assert len(controls) == 5
    assert len([tag for tag, _ in parser.tags if tag == "script"]) == 1  # its own; the name's is harmless
    assert "alert(1)</script>" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


def test_headings_can_be_reached() -> None:
    parser = _Balance()
    parser.feed(_page())
    places = [attributes["id"] for _, attributes in parser.tags if "id" in attributes]
    assert len(places) == len(set(places))
    targets = [a["href"] for t, a in parser.tags if t == "a" and a.get("href")]
    assert {str(target).removeprefix("#") for target in targets} <= set(places)


def test_pictures_and_tables_say_what_they_are() -> None:
    parser = _Balance()
    parser.feed(_page())
    assert all(attributes.get("alt") for tag, attributes in parser.tags if tag == "img")
    assert all(attributes.get("scope") for tag, attributes in parser.tags if tag == "th")
    assert ("html", {"lang": "en"}) in parser.tags


def test_an_annex_stands_inside_and_links_to_its_file_lead_to_it() -> None:
    card = Document("The card", (Heading("Use"), Paragraph("none"), Heading("Part", 3)))
    blocks = (Link("See", "card.md"), Heading("Results"), Annex("Model card", "card.md", card))
    page = render_html(Document("t", blocks))
    assert 'See <a href="#model-card">Model card</a>' in page
    assert '<h2 id="model-card">Model card</h2>\n<h3 id="use">Use</h3>' in page
    assert '<h4 id="part">Part</h4>' in page
    assert "card.md" not in page
    assert '<li><a href="#model-card">Model card</a></li>' in page


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_tall_picture_is_cut_between_its_rows_and_loses_nothing() -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (500, 100, 3), dtype=np.uint8)
    for row, wide in ((40, 5), (70, 9), (110, 5), (180, 5), (190, 5), (300, 5), (470, 5)):
        pixels[row : row + wide] = 17
    parts = [np.asarray(Image.open(io.BytesIO(part))) for _, part in _raster(_png(pixels))]
    assert [len(part) for part in parts] == [74, 118, 110, 198]  # the widest gap, else the last; then none
    np.testing.assert_array_equal(np.concatenate(parts), pixels)
    page = render_html(Document("t", (Figure("panel", Drawing(_png(pixels)), "films"),)))
    assert page.count("<img ") == 4
    assert page.count('alt="films"') == 1
    assert '<figure class="parts">' in page


def test_a_tall_picture_without_gaps_stays_whole() -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (500, 100, 3), dtype=np.uint8)
    assert _raster(_png(pixels)) == [("png", _png(pixels))]


def test_options_and_numbers_stay_on_one_line() -> None:
    block = Paragraph(f"Type {code('magsd calibrate --target-sensitivity 0.9')}: 3.0 [1.0 to 5.0].")
    page = render_html(Document("t", (block,)))
    assert 'calibrate <span class="whole">--target-sensitivity</span> 0.9' in page
    assert "[1.0\u00a0to\u00a05.0]" in page
