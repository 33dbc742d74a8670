"""Tables that come with collections: strict for a manifest that people write, lenient for published ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from magsd_cli.errors import UsageError

MAX_TABLE = 512 * 2**20


Row = dict[str, str]


def strict_rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Yield (row number, row) of a CSV table, values stripped; the header is row 1.

    Raises `UsageError` with the row number: not UTF-8, a missing or repeated column, a ragged row.
    """
    try:
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}: row {row}: not UTF-8; save the table as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _need(path, header, required)
        if len(set(header)) != len(header):
            raise UsageError(f"{path}: row 1: a column name stands twice; rename one")
        for number, fields in enumerate(reader, start=2):
            if not fields or fields == [""]:
                continue
            if len(fields) != len(header):
                raise UsageError(
                    f"{path}: row {number}: {len(fields)} fields, the header has {len(header)}; mend the row"
                )
            yield number, {name: value.strip() for name, value in zip(header, fields, strict=True)}
    except csv.Error as error:
        raise UsageError(
            f"{path}: row {reader.line_num}: not readable as CSV ({error}); mend the row"
        ) from error


def lenient_rows(path: Path, required: tuple[str, ...], delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of a published table: fields too few are "", fields too many and odd bytes are let pass.

    Column names are compared in lower case, with "_" for blanks. Raises `UsageError` when one is missing.
    """
    text = _bytes(path).decode("utf-8-sig", errors="replace")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip().lower().replace(" ", "_") for name in next(reader, [])]
        _need(path, header, required)
        for row in reader:
            if any(row):
                padded = row + [""] * (len(header) - len(row))
                yield {name: value.strip() for name, value in zip(header, padded, strict=False)}
    except csv.Error as error:
        raise UsageError(f"{path}: row {reader.line_num}: not readable ({error}); fetch it again") from error


def header_of(path: Path) -> list[str]:
    """The column names of a CSV table in lower case; [] where it is no readable file."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return [name.strip().lower() for name in next(csv.reader(file), [])]
    except (OSError, csv.Error):
        return []


def _need(path: Path, header: list[str], required: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise UsageError(
            f"{path}: row 1: column {', '.join(missing)} is missing; needed are {', '.join(required)}"
        )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TABLE:
            raise UsageError(f"{path}: larger than {MAX_TABLE >> 20} MiB; split the collection")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; make it readable") from error
