"""The journal of a table that is being made: rows are kept as they come, so that a kill costs none.

One line a row, appended and handed to the system at once: a checksum and the row as JSON. A line that was cut
by a kill or a full disk does not match its checksum and is left out. The first line says which model the rows
are of. When the table stands under its final name, the journal is removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from magsd_cli.artifacts.files import sha256_bytes
from magsd_cli.errors import OutputError

_SUM = 16

Row = Mapping[str, Any]


def journal_path(final: Path) -> Path:
    """Where the rows of the table `final` are kept until it is written."""
    return final.with_name(f".{final.name}.partial")


def read_journal(final: Path, model: str) -> list[dict[str, Any]]:
    """The whole rows that an interrupted run left for `final`; [] when there are none of this `model`."""
    try:
        lines = journal_path(final).read_bytes().split(b"\n")
    except OSError:
        return []
    head, *rows = [_parse(line) for line in lines] or [None]
    if head != {"model_sha256": model}:
        return []
    return [row for row in rows if row is not None]


@contextmanager
def open_journal(final: Path, model: str, rows: Iterable[Row]) -> Iterator[BinaryIO]:
    """Begin the journal of `final` with `rows` that are known already; yield it for `append`.

    Raises `OutputError` when it cannot be written. It stays when the body is left by an exception.
    """
    path = journal_path(final)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The earlier journal gives way only to a whole new one, so a kill here loses no row either.
        new = path.with_name(path.name + ".new")
        new.write_bytes(b"".join(_line(row) for row in ({"model_sha256": model}, *rows)))
        new.replace(path)
        file = path.open("ab")
    except OSError as error:
        raise _unwritable(final, error) from error
    try:
        yield file
    finally:
        # `append` has handed over whatever is whole; what a full disk refused it refuses again, and was said.
        with suppress(OSError):
            file.close()


def append(journal: BinaryIO, final: Path, rows: Iterable[Row]) -> None:
    """Add `rows` to the journal. Raises `OutputError` when the disk is full."""
    try:
        journal.write(b"".join(_line(row) for row in rows))
        journal.flush()
        os.fsync(journal.fileno())
    except OSError as error:
        raise _unwritable(final, error) from error


def remove_journal(final: Path) -> None:
    """The table is written: its journal has done its work."""
    journal_path(final).unlink(missing_ok=True)


def _line(row: Row) -> bytes:
    text = json.dumps(row, sort_keys=True, allow_nan=False).encode()
    return sha256_bytes(text)[:_SUM].encode() + b" " + text + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if not text or sha256_bytes(text)[:_SUM].encode() != checksum:
        return None
    row: dict[str, Any] = json.loads(text)
    return row


def _unwritable(final: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{final}: {error.strerror or error}; free some space or choose a folder that can be written"
    )
