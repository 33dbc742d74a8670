"""A report as one HTML file: pictures inside, no script needed, nothing from the network, phone and paper."""

from __future__ import annotations

import base64
import io
import re
from html import escape as escape_html
from pathlib import Path

from PIL import Image

from magsd_cli.console import printable
from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Bullets,
    Caution,
    Commands,
    Document,
    Figure,
    Gallery,
    GalleryCase,
    Heading,
    Link,
    Paragraph,
    Table,
    spans,
    unbroken,
)

STYLE = Path(__file__).with_name("report.css")
SCRIPT = Path(__file__).with_name("gallery.js")
LARGE = 300_000  # bytes of a PNG from which on the page has a JPEG
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="magsd report">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<div class="banner" role="note">{banner}</div>
<nav aria-label="Contents"><details><summary>Contents</summary><ol>
{contents}
</ol></details></nav>
<main id="content">
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def render_html(document: Document) -> str:
    """The whole document as one page."""
    places = _places(document)
    contents = [
        f'<li><a href="#{places[i]}">{escape(block.text)}</a></li>'
        for i, block in enumerate(document.blocks)
        if isinstance(block, Heading) and block.level == 2
    ]
    return _PAGE.format(
        policy=escape_html(POLICY),
        title=escape(document.title),
        style=STYLE.read_text(encoding="utf-8"),
        banner=escape(NOT_FOR_DIAGNOSIS),
        contents="\n".join(contents),
        body="\n".join(_block(block, places.get(i, "")) for i, block in enumerate(document.blocks)),
    )


def escape(text: str) -> str:
    """`text` as HTML text or attribute value; control characters and direction marks shown escaped."""
    return escape_html(printable(text), quote=True)


def sentence(text: str) -> str:
    """`text` as HTML, its `document.code` as code; numbers in brackets stay on one line."""
    return "".join(
        f"<code>{escape(piece)}</code>" if is_code else unbroken(escape(piece))
        for piece, is_code in spans(text)
    )


def _places(document: Document) -> dict[int, str]:
    """An anchor for each heading, by its number among the blocks."""
    found: dict[int, str] = {}
    for number, block in enumerate(document.blocks):
        if isinstance(block, Heading):
            slug = re.sub(r"[^a-z0-9]+", "-", block.text.lower()).strip("-") or "section"
            found[number] = slug if slug not in found.values() else f"{slug}-{number}"
    return found


def _block(block: Block, place: str) -> str:
    result: str
    match block:
        case Heading(text, level):
            result = f'<h{level} id="{place}">{escape(text)}</h{level}>'
        case Paragraph(text):
            result = f"<p>{sentence(text)}</p>"
        case Caution(text):
            result = f'<p class="caution" role="note"><strong>Warning.</strong> {sentence(text)}</p>'
        case Link(text, target):
            result = f'<p>{sentence(text)} <a href="{escape(target)}">{escape(target)}</a></p>'
        case Bullets(items):
            result = "<ul>" + "".join(f"<li>{sentence(item)}</li>" for item in items) + "</ul>"
        case Commands(lines):
            text = "\n".join(escape(line) for line in lines)
            result = f'<pre tabindex="0"><code>{text}</code></pre>'
        case Table():
            result = _table(block)
        case Figure():
            result = _figure(block)
        case Gallery():
            result = _gallery(block)
    return result


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{sentence(cell)}</td>" for cell in others)
        + "</tr>\n"
        for first, *others in table.rows
    )
    kind = "numbers" if table.numeric else "words"
    label = escape(table.caption or "table")
    caption = f'<p class="caption">{sentence(table.caption)}</p>' if table.caption else ""
    return (
        f'{caption}<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{kind}" aria-label="{label}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def _figure(figure: Figure) -> str:
    drawing = figure.drawing
    kind, content = ("svg+xml", drawing.svg) if drawing.svg else _raster(drawing.png)
    data = base64.b64encode(content).decode("ascii")
    caption = f"<figcaption>{sentence(figure.caption)}</figcaption>" if figure.caption else ""
    picture = f'<img src="data:image/{kind};base64,{data}" alt="{escape(figure.alt)}">'
    return f'<figure><div class="picture" tabindex="0">{picture}</div>{caption}</figure>'


def _raster(png: bytes) -> tuple[str, bytes]:
    """A picture for the page: photographs as JPEG, for they have a tenth of the bytes so."""
    if len(png) < LARGE:
        return "png", png
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=88)
    return "jpeg", buffer.getvalue()


_FILTERS = """<form class="filters" id="gallery-filters" hidden>
<p><label for="gallery-search">Search in names</label><input type="search" id="gallery-search"></p>
<p><label for="gallery-truth">True class</label><select id="gallery-truth">{classes}</select></p>
<p><label for="gallery-predicted">Called</label><select id="gallery-predicted">{classes}</select></p>
<p><label for="gallery-right">Right or wrong</label><select id="gallery-right"><option value="">all</option>
<option value="no">called wrong</option><option value="yes">called right</option></select></p>
<p><label for="gallery-least">Least confidence (%)</label>
<input type="number" id="gallery-least" min="0" max="100" step="any" inputmode="decimal"></p>
<p><button type="reset">Show all</button></p>
</form>
<p id="gallery-count" role="status"></p>"""


def _gallery(gallery: Gallery) -> str:
    """A plain list of cases; with JavaScript, controls above it choose which of them are seen."""
    options = '<option value="">all</option>' + "".join(
        f'<option value="{number}">{escape(name)}</option>' for number, name in enumerate(gallery.classes)
    )
    items = "\n".join(_gallery_case(case, gallery.classes) for case in gallery.cases)
    return (
        f"<p>{escape(gallery.head())}</p>\n{_FILTERS.format(classes=options)}\n"
        f'<div class="gallery" tabindex="0" role="region" aria-label="Cases">'
        f'<ul id="gallery-cases">\n{items}\n</ul></div>\n'
        f"<script>\n{SCRIPT.read_text(encoding='utf-8')}</script>"
    )


def _gallery_case(case: GalleryCase, classes: tuple[str, ...]) -> str:
    right = case.truth == case.predicted
    name, truth, called = escape(case.image_id), escape(classes[case.truth]), escape(classes[case.predicted])
    words = f"{truth}, called {called} ({100 * case.confidence:.1f}%)"
    data = base64.b64encode(case.jpeg).decode("ascii")
    picture = f'<img src="data:image/jpeg;base64,{data}" alt="{name}">' if case.jpeg else ""
    return (
        f'<li class="{"right" if right else "wrong"}" data-truth="{case.truth}" '
        f'data-predicted="{case.predicted}" data-right="{"yes" if right else "no"}" '
        f'data-confidence="{100 * case.confidence:.2f}" data-name="{name}">{picture}'
        f"<p><strong>{'Right' if right else 'Wrong'}:</strong> {words}</p>"
        f'<p class="name">{name}, fold {case.fold}</p></li>'
    )
