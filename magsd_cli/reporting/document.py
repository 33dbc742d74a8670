"""What a report is made of: a list of frozen blocks, which Markdown and HTML both render in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_FOR_DIAGNOSIS = "Not for clinical diagnosis."


@dataclass(frozen=True)
class Heading:
    """A section's title; `level` 2 or 3 (1 is the document's own title)."""

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
class Figure:
    """A picture: PNG bytes, the file name's stem, words for those who cannot see it, and a caption."""

    name: str
    png: bytes = field(repr=False)
    alt: str = ""
    caption: str = ""


Block = Heading | Paragraph | Caution | Bullets | Commands | Table | Figure


@dataclass(frozen=True)
class Document:
    """A title and its blocks, in reading order."""

    title: str
    blocks: tuple[Block, ...]

    def figures(self) -> Iterator[Figure]:
        """The pictures, in order."""
        return (block for block in self.blocks if isinstance(block, Figure))

    def headings(self) -> Iterator[Heading]:
        """The sections' titles, in order."""
        return (block for block in self.blocks if isinstance(block, Heading))


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
