"""A report as one HTML file: pictures inside, no script needed, nothing from the network.

Phones, paper and a dark style are seen to.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from html import escape as escape_html
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from magsd_cli.console import printable
from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Annex,
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
from magsd_cli.render.inline_svg import inline_svg

STYLE = Path(__file__).with_name("report.css")
SCRIPT = Path(__file__).with_name("gallery.js")
LARGE = 300_000  # bytes of a PNG from which on the page has a JPEG
PNG = b"\x89PNG\r\n\x1a\n"
READABLE = 90  # pixels of the page for an inch of a chart: its smallest words are 8 points high
LONG = 16  # rows of a table that may go on on another printed page
TALLEST = 1.25  # height of a picture, as a share of its width, that a printed page holds
_OPTION = re.compile(r"--[a-z][a-z-]*")
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
<header class="banner">{banner}</header>
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
    """The whole document as one page, its annexes inside; links to their files lead to them."""
    inside = {annex.file: annex.title for annex in document.annexes()}
    document = document.whole()
    places = _places(document)
    anchors = {
        block.text: place
        for i, place in places.items()
        if isinstance(block := document.blocks[i], Heading) and block.level == 2
    }
    links = {file: (f"#{anchors[title]}", title) for file, title in inside.items()}
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
        body="\n".join(_block(block, places.get(i, ""), links) for i, block in enumerate(document.blocks)),
    )


def escape(text: str) -> str:
    """`text` as HTML text or attribute value; control characters and direction marks shown escaped."""
    return escape_html(printable(text), quote=True)


def sentence(text: str) -> str:
    """`text` as HTML, its `document.code` as code; options and numbers in brackets stay on one line."""
    whole = r'<span class="whole">\g<0></span>'
    return "".join(
        f"<code>{_OPTION.sub(whole, escape(piece))}</code>" if is_code else unbroken(escape(piece))
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


def _block(block: Block, place: str, links: Mapping[str, tuple[str, str]]) -> str:
    result: str
    match block:
        case Heading(text, level):
            result = f'<h{level} id="{place}">{escape(text)}</h{level}>'
        case Paragraph(text):
            result = f"<p>{sentence(text)}</p>"
        case Caution(text):
            result = f'<p class="caution" role="note"><strong>Warning.</strong> {sentence(text)}</p>'
        case Link(text, target):
            address, words = links.get(target, (target, target))
            result = f'<p>{sentence(text)} <a href="{escape(address)}">{escape(words)}</a></p>'
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
        case Annex():
            raise TypeError("an annex stands in a document's blocks alone")  # `whole` has put it inside
    return result


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' if cell else "<td></td>" for cell in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{sentence(cell)}</td>" for cell in others)
        + "</tr>\n"
        for first, *others in table.rows
    )
    kind = "numbers" if table.numeric else "words"
    kind += " long" if len(table.rows) > LONG else ""
    label = escape(table.caption or "table")
    caption = f'<p class="caption">{sentence(table.caption)}</p>' if table.caption else ""
    return (
        f'{caption}<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{kind}" aria-label="{label}"><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{rows}</tbody></table></div>"
    )


def _figure(figure: Figure) -> str:
    drawing, label = figure.drawing, escape(figure.name.replace("-", " "))
    legible = _legible(drawing.png)
    caption = f"<figcaption>{sentence(figure.caption)}</figcaption>" if figure.caption else ""
    if drawing.svg:
        parts, pictures = 1, inline_svg(drawing.svg, figure.name, printable(figure.alt), legible)
    else:
        files = _raster(drawing.png)
        alts = [figure.alt, *("The picture goes on." for _ in files[1:])]
        parts = len(files)
        pictures = "".join(
            f'<img src="{_data_url(kind, content)}" alt="{escape(alt)}" style="{legible}">'
            for (kind, content), alt in zip(files, alts, strict=True)
        )
    of_parts = ' class="parts"' if parts > 1 else ""
    return (
        f'<figure{of_parts}><div class="picture" tabindex="0" role="group" aria-label="{label}">'
        f"{pictures}</div>{caption}</figure>"
    )


def _legible(png: bytes) -> str:
    """CSS: the width at which the words of a chart can be read, by its inches; "" where they are unknown."""
    if not png.startswith(PNG):
        return ""
    picture = Image.open(io.BytesIO(png))
    dots = picture.info.get("dpi", (0, 0))[0]
    return f"--legible: {READABLE * picture.width / dots:.0f}px" if dots else ""


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _raster(png: bytes) -> list[tuple[str, bytes]]:
    """A picture for the page, in parts that a printed page holds, each its kind and bytes.

    Photographs become JPEG, for they have a tenth of the bytes so.
    """
    if not png.startswith(PNG):
        return [("png", png)]
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    edges = _cuts(np.asarray(picture))
    if len(edges) == 2 and len(png) < LARGE:
        return [("png", png)]
    kind, settings = ("JPEG", {"quality": 88}) if len(png) >= LARGE else ("PNG", {})
    parts = []
    for top, bottom in pairwise(edges):
        buffer = io.BytesIO()
        picture.crop((0, top, picture.width, bottom)).save(buffer, kind, **settings)
        parts.append((kind.lower(), buffer.getvalue()))
    return parts


def _cuts(pixels: npt.NDArray[np.uint8]) -> list[int]:
    """Rows at which a tall picture [h,w,3] is cut: its ends, and gaps between them, rows of one colour.

    A part is at most `TALLEST` times as tall as wide where there is a gap; of several the widest is taken,
    for what stands close together belongs together.
    """
    height, width = pixels.shape[:2]
    plain = np.append((pixels == pixels[:, :1]).all(axis=(1, 2)), False).astype(np.int8)
    edges = np.diff(plain, prepend=0)
    gaps = list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True))
    cuts, most = [0], int(TALLEST * width)
    while height - cuts[-1] > most:
        within = [(b - a, (a + b) // 2) for a, b in gaps if most // 2 < (a + b) // 2 - cuts[-1] <= most]
        if not within:
            break
        cuts.append(int(max(within)[1]))
    return [*cuts, height]


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
    items = "\n".join(_gallery_case(case, gallery) for case in gallery.cases)
    return (
        f"<p>{escape(gallery.head())}</p>\n{_FILTERS.format(classes=options)}\n"
        f'<div class="gallery" tabindex="0" role="region" aria-label="Cases">'
        f'<ul id="gallery-cases">\n{items}\n</ul></div>\n'
        f"<script>\n{SCRIPT.read_text(encoding='utf-8')}</script>"
    )


def _gallery_case(case: GalleryCase, gallery: Gallery) -> str:
    right, classes = case.truth == case.predicted, gallery.classes
    name, truth, called = escape(case.image_id), escape(classes[case.truth]), escape(classes[case.predicted])
    seen = "Chest X-ray, and again with the attention over it" if gallery.with_attention else "Chest X-ray"
    words = f"{truth}, called {called} ({100 * case.confidence:.1f}%)"
    picture = f'<img src="{_data_url("jpeg", case.jpeg)}" alt="{seen}: {name}">' if case.jpeg else ""
    return (
        f'<li class="{"right" if right else "wrong"}" data-truth="{case.truth}" '
        f'data-predicted="{case.predicted}" data-right="{"yes" if right else "no"}" '
        f'data-confidence="{100 * case.confidence:.2f}" data-name="{name}">{picture}'
        f"<p><strong>{'Right' if right else 'Wrong'}:</strong> {words}</p>"
        f'<p class="name">{name}, fold {case.fold}</p></li>'
    )
