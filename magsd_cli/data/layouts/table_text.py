"""The text in a table's bytes, however a program saved them: encoding, separator, titles above the header.

Excel saves "CSV" with semicolons where the decimal sign is a comma, "Unicode text" as UTF-16 with tabs, and
ends rows with empty fields; people put a title above the header. All of that is read; what is not UTF-8 or
UTF-16 is refused with its row, because a wrong letter in a path or a class would go unnoticed.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from magsd_cli.errors import UsageError

SEPARATORS = (",", ";", "\t", "|")
MOST_TITLES = 10  # rows above the header
HEAD = 64 * 1024  # bytes that hold the header

MARKS = (  # the longer ones first: UTF-32's begins as UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Header:
    """The column names as compared (lower case, "_" for blanks), the separator, the header's row from 1."""

    names: list[str]
    separator: str
    row: int


def encoding_of(data: bytes) -> str:
    """The encoding of a table: by its mark, UTF-16 without one by its zeros, else UTF-8."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return name
    start = data[:400]
    if len(start) >= 4 and start.count(0) * 4 > len(start):
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return "utf-8"


def decode(path: Path, data: bytes) -> str:
    """The table as text. Raises `UsageError` with the row for bytes that are not of its encoding."""
    encoding = encoding_of(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        name = "UTF-8" if encoding.startswith("utf-8") else "UTF-16"
        raise UsageError(f"{path}: row {row}: not {name}; save the table as UTF-8") from error


def find_header(text: str, required: Sequence[str]) -> Header:
    """The first row with all `required` columns, by any separator; else the row that comes nearest."""
    best: tuple[int, int, Header] | None = None
    for separator in SEPARATORS:
        for row, names in _first_rows(text, separator):
            found = sum(name in names for name in required)
            header = Header(names, separator, row)
            if best is None or (found, len(names) if row == 1 else 0) > best[:2]:
                best = (found, len(names) if row == 1 else 0, header)
            if found == len(required):
                break
    return best[2] if best else Header([], ",", 1)


def plain_name(column: str) -> str:
    """A column's name as it is compared: "Patient ID", "patient-id" and "PATIENT_ID" are patient_id."""
    return column.strip().strip("\ufeff").strip().lower().replace(" ", "_").replace("-", "_")


def _first_rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    # Not more than the head is looked at; a row that it cuts is none of the first ones.
    reader = csv.reader(io.StringIO(text[:HEAD], newline=""), delimiter=separator)
    try:
        for row, fields in enumerate(reader, start=1):
            if row > MOST_TITLES:
                return
            names = [plain_name(name) for name in fields]
            while names and not names[-1]:
                names.pop()
            yield row, names
    except csv.Error:
        return
