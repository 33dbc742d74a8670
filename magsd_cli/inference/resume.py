"""Rows that an output has already: the table's, those of an interrupted run, the stamps of watched files.

The journal keeps rows as they come, so that a kill costs none: one line a row, appended and handed to the
system at once, a checksum and the row as JSON. A line cut by a kill or a full disk does not match its
checksum and is left out. The first line says which model the rows are of. When the table stands under its
final name, the journal is removed.

Beside a table stands ``.<name>.seen``: for each file its content's hash and its stamp, so that it need not be
read again. The content's hash decides, and this only tells it without reading. Without the file, or with a
damaged one, every file is read and hashed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from magsd_cli.artifacts.files import write_bytes
from magsd_cli.artifacts.tables import PREDICTION, path_text, read_table, table_metadata
from magsd_cli.data.decode import DecodeError, read_bytes
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


@dataclass(frozen=True)
class KnownRows:
    """Rows that stand: `earlier` are the table's own in order, the others are looked up.

    With `any_path` a content that was seen under one path is known under every other. `key` says which model
    and which rules the rows are of.
    """

    earlier: list[Row] = field(default_factory=list, repr=False)
    by_file: dict[tuple[str, str], Row] = field(default_factory=dict, repr=False)
    by_content: dict[str, Row] = field(default_factory=dict, repr=False)
    any_path: bool = False
    key: str = ""


def read_known_rows(
    out: Path | None, model: str, keep: bool, watch: bool, rules: Values | None = None
) -> KnownRows:
    """Rows of the table `out` (if it is to be kept) and of an interrupted run's journal, of this `model`.

    `rules`: what the new rows' table will say of how they came about; others than that are not kept either.

    Ok rows stand. Of error rows only those that the content explains stand, and only in `watch`: a file that
    could not be read, or took its process with it, is tried again. Raises `ArtifactError` when the table is
    damaged or another model's: a table never mixes models.
    """
    rules = rules or {}
    key = rows_key(model, rules)
    if out is None:
        return KnownRows(key=key)
    earlier: list[Row] = []
    if keep and out.exists():
        table = read_own_table(out, model, rules)
        earlier = table.to_pylist()
    stand = [
        row
        for row in [*earlier, *read_journal(out, key)]
        if row["status"] == "ok" or (watch and row["sha256"] is not None)
    ]
    by_content = {row["sha256"]: row for row in stand}
    return KnownRows(earlier, {(row["path"], row["sha256"]): row for row in stand}, by_content, watch, key)


def rows_key(model: str, rules: Values) -> str:
    """Return a key for the model and the rules that rows come from: rows of two keys share no table."""
    return " ".join([model, *(str(rules[name]) for name in RULES if rules.get(name))])


def read_own_table(out: Path, model: str, rules: Values) -> pa.Table:
    """The prediction table `out`, which further rows of `model` under `rules` may join.

    Raises `ArtifactError` when it is damaged, or of another model or other rules.
    """
    table = read_table(out, PREDICTION)
    of = table_metadata(table)["model_sha256"]
    if of != model:
        raise ArtifactError(
            f"{out}: its rows are from model {of[:8]}, not {model[:8]}; use that model (--model), or "
            "--overwrite to score every file again"
        )
    if any((table_metadata(table).get(name) or None) != (rules.get(name) or None) for name in RULES):
        raise ArtifactError(
            f"{out}: its rows were computed, calibrated or decided differently; write to another file, "
            "or use --overwrite to score every file again"
        )
    return table


def unchanged(
    known_rows: KnownRows, files: Sequence[Path], contents: Mapping[Path, str] | None = None
) -> dict[Path, Row]:
    """The rows of those `files` whose content is known.

    Their content is read and hashed, but for those whose hash is in `contents`: nothing touched them since.
    """
    contents = contents or {}
    paths = {path for path, _ in known_rows.by_file}
    kept = {}
    for path in files:
        text = path_text(path)
        if not known_rows.by_content or not (known_rows.any_path or text in paths):
            continue
        try:
            content = contents.get(path) or sha256_bytes(read_bytes(path))
        except DecodeError:
            continue
        row = known_rows.by_file.get((text, content))
        if row is None and known_rows.any_path and content in known_rows.by_content:
            row = known_rows.by_content[content] | {"path": text}
        if row is not None:
            kept[path] = row
    return kept


def merged(known_rows: KnownRows, rows: Sequence[Row]) -> list[Row]:
    """The table's earlier rows, those of changed files replaced in their place, new files' rows behind."""
    fresh = {row["path"]: row for row in rows}
    known = {row["path"] for row in known_rows.earlier}
    return [
        *(fresh.get(row["path"], row) for row in known_rows.earlier),
        *(row for row in rows if row["path"] not in known),
    ]


def journal_path(final: Path) -> Path:
    """Return the path where rows of the table `final` are kept until it is written."""
    return final.with_name(f".{final.name}.partial")


def read_journal(final: Path, model: str) -> list[Row]:
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
def open_journal(final: Path, model: str, rows: Iterable[Values]) -> Iterator[BinaryIO]:
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


def append(journal: BinaryIO, final: Path, rows: Iterable[Values]) -> None:
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


def stamps_of(files: Iterable[Path]) -> dict[Path, Stamp]:
    """The stamp of each file that has one. To be taken before the file is read.

    None has what is no regular file, and what was touched in the last seconds or, as the clock has it, in the
    future: its content may still change under the same stamp.
    """
    found = {}
    for path in files:
        try:
            now, status = time.time_ns(), path.stat()
        except (OSError, ValueError):
            continue
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < now - SETTLED_NS
        if stat.S_ISREG(status.st_mode) and settled:
            found[path] = (
                status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev,
            )  # fmt: skip
    return found


def read_seen(final: Path, stamps: Mapping[Path, Stamp]) -> dict[Path, str]:
    """The content's hash of those files whose stamp is what it was when they were read."""
    try:
        checksum, _, text = seen_path(final).read_bytes().partition(b"\n")
        if sha256_bytes(text).encode() != checksum:
            return {}
        known = json.loads(text)
    except (OSError, ValueError):
        return {}
    found = {path: known.get(_key(path), (None, None)) for path in stamps}
    return {path: content for path, (content, before) in found.items() if before == list(stamps[path])}


def write_seen(final: Path, stamps: Mapping[Path, Stamp], contents: Mapping[Path, str]) -> None:
    """Keep the stamp and the content's hash of the files that have both. Raises `OutputError`."""
    known = {_key(path): (content, stamps[path]) for path, content in contents.items() if path in stamps}
    text = json.dumps(known, sort_keys=True).encode()
    data = sha256_bytes(text).encode() + b"\n" + text
    path = seen_path(final)
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)


def _key(path: Path) -> str:
    return os.fsencode(os.path.abspath(path)).hex()  # noqa: PTH100 (links must stay what they are)
