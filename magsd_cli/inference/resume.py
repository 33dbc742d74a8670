"""Rows that an output has already: the table's, those of an interrupted run, the stamps of watched files.

The journal keeps rows as they come, so that a kill costs none: one line a row, appended and handed to the
system at once, a checksum and the row as JSON. A line cut by a kill or a full disk does not match its
checksum and is left out. The first line says which model the rows are of. When the table stands under its
final name, the journal is removed.

Beside a table stands ``.<name>.seen``: for each file its content's hash and its stamp, so that it need not be
read again: a line a file, as in the journal. The content's hash decides, and this only tells it without
reading. Files without a whole line are read and hashed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from magsd_cli.artifacts.files import atomic_path
from magsd_cli.artifacts.tables import PREDICTION, read_table, table_metadata
from magsd_cli.errors import ArtifactError, OutputError
from magsd_cli.hashing import sha256_bytes

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
RULES = (
    "operating_sha256",
    "temperature",
    "precision",
)  # of a table's metadata: what else than the model makes its rows

_SUM = 16
Values = Mapping[str, Any]

#: size, modification and change time in nanoseconds, inode, device.
Stamp = tuple[int, int, int, int, int]

#: A file touched so shortly before its stamp may change once more without another stamp: clocks are coarse.
SETTLED_NS = 5 * 10**9


def rows_key(model: str, rules: Values) -> str:
    """Return a key for the model and the rules that rows come from: rows of two keys share no table."""
    return " ".join([model, *(str(rules[name]) for name in RULES if rules.get(name))])


def read_own_table(out: Path, model: str, rules: Values) -> pa.Table:
    """The prediction table `out`, which further rows of `model` under `rules` may join.

    Raises `ArtifactError` when it is damaged, or of another model or other rules.
    """
    table = read_table(out, PREDICTION)
    check_own(table_metadata(table), out, model, rules)
    return table


def check_own(head: Values, out: Path, model: str, rules: Values) -> None:
    """Raise `ArtifactError` where the table `out` of this head is of another model or other rules."""
    of = head["model_sha256"]
    if of != model:
        raise ArtifactError(
            f"{out}: its rows are from model {of[:8]}, not {model[:8]}; use that model (--model), or "
            "--overwrite to score every file again"
        )
    if any((head.get(name) or None) != (rules.get(name) or None) for name in RULES):
        raise ArtifactError(
            f"{out}: its rows were computed, calibrated or decided differently; write to another file, "
            "or use --overwrite to score every file again"
        )


def journal_path(final: Path) -> Path:
    """Return the path where rows of the table `final` are kept until it is written."""
    return final.with_name(f".{final.name}.partial")


def read_journal(final: Path, model: str) -> list[Row]:
    """The whole rows that an interrupted run left for `final`; [] when there are none of this `model`."""
    return [row for _, row in journal_rows(final, model)]


def journal_rows(final: Path, model: str) -> Iterator[tuple[int, Row]]:
    """As `read_journal`, one row at a time, each with its place in the journal for `row_at`."""
    try:
        file = journal_path(final).open("rb")
    except OSError:
        return
    with file:
        line = file.readline()
        if _parse(line.rstrip(b"\n")) != {"model_sha256": model}:
            return
        place = len(line)
        while line := file.readline():
            row = _parse(line.rstrip(b"\n"))
            if row is not None:
                yield place, row
            place += len(line)


def journal_key(final: Path) -> str | None:
    """The model that the journal of `final` is of; None where there is none."""
    try:
        with journal_path(final).open("rb") as file:
            head = _parse(file.readline().rstrip(b"\n")) or {}
    except OSError:
        return None
    return head.get("model_sha256")


def row_at(journal: BinaryIO, place: int) -> Row:
    """The row at a place that `journal_rows` or `append` gave; `journal` is open for reading."""
    journal.seek(place)
    row = _parse(journal.readline().rstrip(b"\n"))
    if row is None:
        raise OutputError("the journal of the table was changed meanwhile; run it again to continue")
    return row


@contextmanager
def open_journal(final: Path, model: str, rows: Iterable[Values]) -> Iterator[BinaryIO]:
    """Begin the journal of `final` with `rows` that are known already; yield it for `append`.

    Raises `OutputError` when it cannot be written. It stays when the body is left by an exception.
    """
    file = begin_journal(final, model, rows)
    try:
        yield file
    finally:
        # `append` has handed over whatever is whole; what a full disk refused it refuses again, and was said.
        with suppress(OSError):
            file.close()


def begin_journal(final: Path, model: str, rows: Iterable[Values] = ()) -> BinaryIO:
    """Begin the journal of `final` with `rows`, and open it for `append`. Raises `OutputError`."""
    path = journal_path(final)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The earlier journal gives way only to a whole new one, so a kill here loses no row either.
        new = path.with_name(path.name + ".new")
        with new.open("wb") as file:
            file.write(_line({"model_sha256": model}))
            for row in rows:
                file.write(_line(row))
        new.replace(path)
        return path.open("ab")
    except OSError as error:
        raise _unwritable(final, error) from error


def continue_journal(final: Path, model: str) -> BinaryIO:
    """Open the journal that an interrupted run of this `model` left for `append`, or begin one.

    Its rows keep their places. Raises `OutputError`.
    """
    whole, end = 0, b""
    with suppress(OSError), journal_path(final).open("rb") as file:
        line = file.readline()
        if _parse(line.rstrip(b"\n")) == {"model_sha256": model}:
            while line.endswith(b"\n"):
                whole, line = whole + len(line), file.readline()
            if _parse(line) is not None:  # whole but for its end
                whole, end = whole + len(line), b"\n"
    if not whole:
        return begin_journal(final, model)
    try:
        os.truncate(journal_path(final), whole)  # a line that was cut by a kill is no row
        journal = journal_path(final).open("ab")
        journal.write(end)
    except OSError as error:
        raise _unwritable(final, error) from error
    return journal


def append(journal: BinaryIO, final: Path, rows: Iterable[Values]) -> list[int]:
    """Add `rows` to the journal; return the place of each. Raises `OutputError` when the disk is full."""
    places, lines = [], []
    try:
        place = journal.tell()
        for row in rows:
            places.append(place)
            lines.append(_line(row))
            place += len(lines[-1])
        journal.write(b"".join(lines))
        journal.flush()
        os.fsync(journal.fileno())
    except OSError as error:
        raise _unwritable(final, error) from error
    return places


def remove_journal(final: Path) -> None:
    """The table is written: its journal has done its work."""
    journal_path(final).unlink(missing_ok=True)


def _line(row: Values) -> bytes:
    text = json.dumps(row, sort_keys=True, allow_nan=False).encode()
    return sha256_bytes(text)[:_SUM].encode() + b" " + text + b"\n"


def _parse(line: bytes) -> Row | None:
    checksum, _, text = line.partition(b" ")
    if not text or sha256_bytes(text)[:_SUM].encode() != checksum:
        return None
    row: Row = json.loads(text)
    return row


def _unwritable(final: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{final}: {error.strerror or error}; free some space or choose a folder that can be written"
    )


def seen_path(final: Path) -> Path:
    """Return the path of the stamps of the table `final`."""
    return final.with_name(f".{final.name}.seen")


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a file, where it has one. To be taken before the file is read.

    None has what is no regular file, and what was touched in the last seconds or, as the clock has it, in the
    future: its content may still change under the same stamp.
    """
    try:
        now, status = time.time_ns(), path.stat()
    except (OSError, ValueError):
        return None
    settled = max(status.st_mtime_ns, status.st_ctime_ns) < now - SETTLED_NS
    if not (stat.S_ISREG(status.st_mode) and settled):
        return None
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def read_seen(final: Path) -> Iterator[tuple[str, str, Stamp]]:
    """The key, the content's hash and the stamp of each file that was kept; damaged lines are passed over."""
    try:
        file = seen_path(final).open("rb")
    except OSError:
        return
    with file:
        for line in file:
            entry = _parse(line.rstrip(b"\n"))
            if entry is not None and set(entry) == {"file", "sha256", "stamp"}:
                size, modified, changed, inode, device = entry["stamp"]
                yield entry["file"], entry["sha256"], (size, modified, changed, inode, device)


def write_seen(final: Path, entries: Iterable[tuple[str, str, Stamp]]) -> None:
    """Keep the key, the content's hash and the stamp of files. Raises `OutputError`."""
    with atomic_path(seen_path(final)) as temporary, temporary.open("wb") as file:
        for key, content, stamp in entries:
            file.write(_line({"file": key, "sha256": content, "stamp": list(stamp)}))


def seen_key(path: Path) -> str:
    """Return the name of a file in the list of those that were seen."""
    return os.fsencode(os.path.abspath(path)).hex()  # noqa: PTH100 (links must stay what they are)
