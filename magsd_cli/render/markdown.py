"""A report as Markdown, its pictures in files beside it. Every text is escaped: names may hold anything."""

from __future__ import annotations

import re

from magsd_cli.console import printable
from magsd_cli.render.document import (
    Annex,
    Block,
    Bullets,
    Caution,
    Commands,
    Document,
    Figure,
    Gallery,
    Heading,
    Link,
    Paragraph,
    Table,
    spans,
    unbroken,
)

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_ANGLES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

#: What would begin a heading, a list, a quote or a rule at the start of a line.
_LINE_START = re.compile(r"^(\d*)(#{1,6}(?=\s)|[-+](?=\s)|=+$|(?<=\d)[.)](?=\s)|---+$)")


def render_markdown(document: Document, figures: str = "figures") -> str:
    """The whole document; pictures are linked as ``<figures>/<name>.png``."""
    blocks = [f"# {escape(document.title)}", *(_block(block, figures) for block in document.blocks)]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """`text` on one line, with everything that Markdown or HTML would read as markup made harmless.

    What `document.code` marks becomes a code span.
    """
    return "".join(_code_span(piece) if is_code else _harmless(piece) for piece, is_code in spans(text))


def _code_span(text: str) -> str:
    words = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", words)), default=0)
    fence, gap = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{gap}{words}{gap}{fence}"


def _harmless(text: str) -> str:
    line = _SPECIAL.sub(r"\\\1", unbroken(printable(text))).translate(_ANGLES)
    return _LINE_START.sub(r"\1\\\2", line)


def _block(block: Block, figures: str) -> str:
    result: str
    match block:
        case Heading(text, level):
            result = f"{'#' * level} {escape(text)}"
        case Paragraph(text):
            result = escape(text)
        case Caution(text):
            result = f"> **Warning.** {escape(text)}"
        case Link(text, target):
            result = f"{escape(text)} [{escape(target)}]({target})"
        case Bullets(items):
            result = "\n".join(f"- {escape(item)}" for item in items)
        case Commands(lines):
            result = _fenced(lines)
        case Table():
            result = _table(block)
        case Figure():
            caption = f"\n\n*{escape(block.caption)}*" if block.caption else ""
            result = f"![{escape(block.alt)}]({figures}/{block.name}.png){caption}"
        case Gallery():
            result = f"{escape(block.head())}\n\n{_table(_cases(block))}"
        case Annex(title, file, _):
            result = f"## {escape(title)}\n\n[{escape(file)}]({file})"
    return result


def _cases(gallery: Gallery) -> Table:
    """The cases without their pictures, which the HTML report has."""
    rows = tuple(
        (
            case.image_id,
            gallery.classes[case.truth],
            gallery.classes[case.predicted],
            f"{100 * case.confidence:.1f}",
            str(case.fold),
        )
        for case in gallery.cases
    )
    return Table("", ("image", "truth", "called", "confidence (%)", "fold"), rows)


def _fenced(lines: tuple[str, ...]) -> str:
    text = "\n".join(printable(line) for line in lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def _table(table: Table) -> str:
    rule = ["---", *(["---:"] if table.numeric else ["---"]) * (len(table.head) - 1)]
    lines = [_row([escape(cell) for cell in table.head]), _row(rule)]
    lines += [_row([escape(cell) for cell in row]) for row in table.rows]
    caption = f"{escape(table.caption)}\n\n" if table.caption else ""
    return caption + "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
