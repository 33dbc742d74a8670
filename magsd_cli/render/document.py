"""The parts of a report: a list of frozen blocks, which Markdown and HTML both render in full."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_FOR_DIAGNOSIS = "Not for clinical diagnosis."
_CODE = re.compile("\ue000(.*?)\ue001")

#: Numbers that belong together: in brackets, such as [1.2 to 3.4], or around a ±.
_NUMBERS = re.compile(
    r"[(\[][-+±−\d.,%\s]*\d[-+±−\d.,%\s]*(?:to [-+−\d.,%\s]+)?[)\]]|[-+−]?\d[\d.,]*%? ± \d[\d.,]*%?"
)


@dataclass(frozen=True)
class Heading:
    """A section's title; `level` 2 to 4 (1 is the document's own title)."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Sentences of plain text."""

    text: str


@dataclass(frozen=True)
class Caution:
    """Something that the reader must know before the figures."""

    text: str


@dataclass(frozen=True)
class Link:
    """A sentence and the file beside the report that it leads to; `target` is a plain file name."""

    text: str
    target: str


@dataclass(frozen=True)
class Bullets:
    """A list of plain sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Command lines to type, one a line."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of text. The first column names the row; `numeric` right-aligns the others."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.head)]
        if wrong:
            raise ValueError(f"a row of {len(wrong[0])} cells under {len(self.head)} headings: {wrong[0]}")


@dataclass(frozen=True)
class Drawing:
    """A picture as the bytes of a PNG file, and of an SVG file where it has one."""

    png: bytes = field(repr=False)
    svg: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Figure:
    """A drawing, the stem of its file's name, words for those who cannot see it, and a caption."""

    name: str
    drawing: Drawing
    alt: str = ""
    caption: str = ""


@dataclass(frozen=True)
class GalleryCase:
    """A tested image: its id, the numbers of its true and predicted class, and a picture for the page.

    confidence in 0..1: the probability of the predicted class. jpeg: the image, with the attention beside it
    where there is any; b"" for none.
    """

    image_id: str
    truth: int
    predicted: int
    confidence: float
    fold: int
    jpeg: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Gallery:
    """Single cases to look through; `total` of them were tested, not all of which are shown.

    with_attention: the pictures show the image twice, the second time with the attention over it.
    """

    classes: tuple[str, ...]
    cases: tuple[GalleryCase, ...] = field(repr=False)
    total: int = 0
    with_attention: bool = False

    def head(self) -> str:
        """Say how many of how many are shown."""
        wrong = sum(case.truth != case.predicted for case in self.cases)
        return f"Shown are {len(self.cases)} of {self.total} tested images, {wrong} of them called wrong."


@dataclass(frozen=True)
class Annex:
    """A document of its own that belongs to the report.

    Markdown has it as `file` beside the report, and a link; the HTML page has it inside, under `title`.
    """

    title: str
    file: str
    document: Document


Block = Heading | Paragraph | Caution | Link | Bullets | Commands | Table | Figure | Gallery | Annex


@dataclass(frozen=True)
class Document:
    """A title and its blocks, in reading order."""

    title: str
    blocks: tuple[Block, ...]

    def figures(self) -> Iterator[Figure]:
        """The pictures, in order."""
        return (block for block in self.blocks if isinstance(block, Figure))

    def annexes(self) -> Iterator[Annex]:
        """The documents that belong to it, in order."""
        return (block for block in self.blocks if isinstance(block, Annex))

    def whole(self) -> Document:
        """The same with its annexes inside, each a section under its title."""
        blocks: list[Block] = []
        for block in self.blocks:
            if not isinstance(block, Annex):
                blocks.append(block)
                continue
            blocks.append(Heading(block.title))
            for part in block.document.whole().blocks:
                blocks.append(Heading(part.text, part.level + 1) if isinstance(part, Heading) else part)
        return Document(self.title, tuple(blocks))


def code(text: str) -> str:
    """`text` as words that are typed, such as a command, within a sentence of any block."""
    return f"\ue000{text}\ue001"


def spans(text: str) -> list[tuple[str, bool]]:
    """A sentence in pieces, with whether each is `code`; empty ones are left out."""
    pieces = [(piece, number % 2 == 1) for number, piece in enumerate(_CODE.split(text))]
    return [(piece, is_code) for piece, is_code in pieces if piece]


def not_available(reason: str) -> Paragraph:
    """Says that a section's artifact is not there."""
    return Paragraph(f"Not available: {reason}.")


def percent(value: float | None, reason: str | None = None, digits: int = 2) -> str:
    """A share as percent; an undefined one as "n/a" with its reason."""
    if value is None:
        return f"n/a ({reason})" if reason else "n/a"
    return f"{100 * value:.{digits}f}"


def mean_and_deviation(mean: float | None, deviation: float | None, reason: str | None = None) -> str:
    """The paper's form, in percent: mean ± standard deviation over the folds."""
    if mean is None or deviation is None:
        return percent(mean, reason)
    return f"{100 * mean:.2f} ± {100 * deviation:.2f}"


def text_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of words, left-aligned."""
    return Table(caption, tuple(head), tuple(tuple(str(c) for c in row) for row in rows), numeric=False)


def interval_text(
    interval: Sequence[float | None] | None, digits: int = 1, scale: float = 100, signed: bool = False
) -> str:
    """An interval as every report writes it, `[low to high]`, in percent of shares; `scale` 1: as it is.

    signed: with a plus sign, as for a difference. "[n/a]" where a bound is unknown.
    """
    low, high = interval or (None, None)
    if low is None or high is None:
        return "[n/a]"
    sign = "+" if signed else ""
    return f"[{scale * low:{sign}.{digits}f} to {scale * high:{sign}.{digits}f}]"


def unbroken(text: str) -> str:
    """`text` with no-break spaces within numbers in brackets and around a ±, so that no line ends there."""
    return _NUMBERS.sub(lambda found: found.group().replace(" ", "\u00a0"), text)
