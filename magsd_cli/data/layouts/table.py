"""Tables that come with collections: strict for a manifest that people write, lenient for published ones."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from magsd_cli.console import printable
from magsd_cli.data.layouts.table_text import HEAD, decode, encoding_of, find_header
from magsd_cli.data.missing_words import is_missing, is_missing_id
from magsd_cli.errors import UsageError

MAX_TABLE = 512 * 2**20
IDS = {"patient_id", "exam_id", "patientid", "participant", "reportid", "offset_id", "study_id"}

# Columns whose words are kept as they stand: names of files, and what was found.
AS_WRITTEN = {"path", "label", "labels", "filename", "folder", "image_index", "imagename"}
Row = dict[str, str]


def strict_rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Yield (row number, row) of a CSV table, values stripped; rows count from 1, titles and header too.

    Separators, encodings and titles as in `table_text`. Words for unknown become "" but in `label` and
    `path`. Raises `UsageError` with the row number: not UTF-8, a missing or repeated column, a ragged row.
    """
    text = decode(path, _bytes(path))
    header = find_header(text, required)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=header.separator, strict=True)
    names = header.names
    try:
        _need(path, names, required, header.row)
        if len(set(names)) != len(names):
            raise UsageError(f"{path}: row {header.row}: a column name stands twice; rename one")
        for number, fields in enumerate(reader, start=1):
            if number <= header.row or not any(field.strip() for field in fields):
                continue
            while len(fields) > len(names) and not fields[-1].strip():
                fields.pop()  # a spreadsheet's empty columns
            if len(fields) != len(names):
                raise UsageError(
                    f"{path}: row {number}: {len(fields)} fields, the header has {len(names)}; fix the row"
                )
            yield number, _known(dict(zip(names, fields, strict=True)))
    except csv.Error as error:
        raise UsageError(
            f"{path}: row {reader.line_num}: not readable as CSV ({error}); fix the row"
        ) from error


def lenient_rows(path: Path, required: tuple[str, ...], delimiter: str = "") -> Iterator[Row]:
    """Yield the rows of a published table: fields too few are "", fields too many and odd bytes are let pass.

    Column names are compared in lower case, with "_" for blanks; words for unknown become "", but in names of
    files and findings. `delimiter` is found where it is not given. Raises `UsageError` when a column is
    missing.
    """
    data = _bytes(path)
    text = data.decode("utf-8-sig" if encoding_of(data) == "utf-8" else encoding_of(data), errors="replace")
    header = find_header(text, required)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or header.separator)
    try:
        for _ in range(header.row - 1):
            next(reader, None)
        names = [name.strip().lower().replace(" ", "_") for name in next(reader, [])]
        _need(path, names, required, header.row)
        for row in reader:
            if any(row):
                padded = row + [""] * (len(names) - len(row))
                yield _known(dict(zip(names, padded, strict=False)))
    except csv.Error as error:
        raise UsageError(f"{path}: row {reader.line_num}: not readable ({error}); fetch it again") from error


def _known(row: Row) -> Row:
    """A row's values stripped, and "" where a word says that nothing is known."""
    known = {}
    for name, value in row.items():
        text = value.strip()
        if name in IDS:
            text = "" if is_missing_id(text, zero=False) else text
        elif name not in AS_WRITTEN and "finding" not in name and is_missing(text):
            text = ""
        known[name] = text
    return known


def header_of(path: Path, required: tuple[str, ...] = ()) -> list[str]:
    """The column names of a CSV table in lower case, found by `required`; [] where it is not readable."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD)
    except OSError:
        return []
    encoding = encoding_of(data)
    text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="replace")
    return find_header(text, required).names


def find_table(folder: Path, *names: str) -> Path | None:
    """The file directly in `folder` that is called one of `names` (lower case), in any case of its letters.

    Raises `UsageError` where there are several of one name: which one counts is not known.
    """
    try:
        there = sorted(os.listdir(folder))  # noqa: PTH208 (a Path for each of many files takes long)
    except OSError:
        return None
    for name in names:
        found = [entry for entry in there if entry.strip().lower() == name and not (folder / entry).is_dir()]
        if len(found) > 1:
            raise UsageError(f"{folder}: {' and '.join(map(printable, found))}: keep one of them")
        if found:
            return folder / found[0]
    return None


def refuse_missing_label(label: str, where: str) -> None:
    """Raise `UsageError` for a label that is a word for unknown, such as "nan": it would become a class."""
    if label and is_missing(label):
        raise UsageError(
            f"{where}: label {printable(label)!r} is a word for unknown, no class; "
            "write what the image shows, or leave it empty for an unlabelled image"
        )


def _need(path: Path, header: list[str], required: tuple[str, ...], row: int = 1) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        there = f" (there are {', '.join(header[:12])})" if any(header) else ""
        raise UsageError(
            f"{path}: row {row}: column {', '.join(missing)} is missing; needed are {', '.join(required)}"
            f"{printable(there)}"
        )


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TABLE:
            raise UsageError(f"{path}: larger than {MAX_TABLE >> 20} MiB; split the collection")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; make it readable") from error
