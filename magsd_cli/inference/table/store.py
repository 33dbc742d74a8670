"""The rows of a table that is being made, on disk: what it had, what an interrupted run left, what comes.

Rows stay where they are written first: in the table as it is, or in the journal beside it. In memory, and in
a temporary database when there are many, is only where the row of each file lies. So memory does not grow
with the number of files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from magsd_cli.artifacts.tables import IN_TRAINING_DATA, path_text
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import UsageError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.inference.resume import (
    Row,
    append,
    begin_journal,
    continue_journal,
    journal_path,
    journal_rows,
    read_seen,
    remove_journal,
    row_at,
    seen_key,
    stamp_of,
    write_seen,
)
from magsd_cli.inference.table.earlier import EarlierRows
from magsd_cli.inference.table.index import Index

#: place: where a row lies: in the journal, or, counted down from -1, in the table as it is; null: not yet.
#: stands: the row answers for its content, so a file that still has it need not be scored again.
#: given: the how-manieth input of this call the file is; fresh: it was scored in this call.
_SCHEMA = """
CREATE TABLE row (
    position INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, sha256 TEXT, place INTEGER, stands INTEGER,
    error INTEGER, trained INTEGER, given INTEGER, fresh INTEGER, name BLOB, stamp TEXT);
CREATE INDEX unscored ON row (position) WHERE place IS NULL;
CREATE INDEX moved ON row (position) WHERE place >= 0;
CREATE TABLE spare (path TEXT, sha256 TEXT, place INTEGER, error INTEGER, trained INTEGER);
CREATE INDEX spare_path ON spare (path);
CREATE TABLE seen (file TEXT PRIMARY KEY, sha256 TEXT, stamp TEXT) WITHOUT ROWID
"""
_BY_CONTENT = (
    "CREATE INDEX row_content ON row (sha256) WHERE stands",
    "CREATE INDEX spare_content ON spare (sha256)",
)


@dataclass(frozen=True)
class Counts:
    """Rows of this call by what came of them; `failed` are the first few that have an error."""

    all: int
    errors: int
    trained: int
    failed: list[Row]


class RowStore:
    """The rows for the table `final` of one model under one set of rules, `key`.

    watch: a content that was seen under one path is known under every other, and rows of files that cannot
    be used stand as long as the content is the same. writes: False where nothing may be written (--dry-run).
    """

    def __init__(
        self, final: Path, key: str, earlier: EarlierRows, watch: bool = False, writes: bool = True
    ) -> None:
        self._final, self._writes = final, writes
        self._key, self.earlier, self._watch = key, earlier, watch
        self._writer: BinaryIO | None = None
        self._reader: BinaryIO | None = None
        self._index = Index(_SCHEMA)
        if watch:
            for statement in _BY_CONTENT:
                self._index.run(statement)
        self._next = 0  # the position of the next new row
        self.given = 0  #: how many inputs there were so far
        self._seen_before = self._seen_again = 0  # stamps that were kept; those that are as they were
        self.changed = False  #: whether the table would differ from what it is
        self._read_earlier()
        for place, row in journal_rows(final, key):
            if self._stands(row["status"] == "error", row["sha256"]):
                values = (row["path"], row["sha256"], place, *_facts(row))
                self._index.run("INSERT INTO spare VALUES (?, ?, ?, ?, ?)", values)
        self._any_stands = self._index.first(
            "SELECT 1 FROM (SELECT 1 FROM spare UNION ALL SELECT 1 FROM row WHERE stands) LIMIT 1"
        )
        for file, content, stamp in read_seen(final) if watch else ():
            self._index.run("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (file, content, repr(stamp)))
            self._seen_before += 1

    def _read_earlier(self) -> None:
        for row in self.earlier.facts():
            error = row["status"] == "error"
            stands = self._stands(error, row["sha256"])
            values = (self._next, row["path"], row["sha256"], -1 - self._next, stands, *_facts(row))
            sql = "INSERT OR IGNORE INTO row VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)"
            if not self._index.run(sql, values):
                raise self.earlier.doubled(row["path"])
            self._next += 1

    def _stands(self, error: bool, content: str | None) -> bool:
        """Ok rows stand. Of error rows only those that the content explains, and only where a folder is
        watched: a file that could not be read, or took its process with it, is tried again.
        """
        return not error or (self._watch and content is not None)

    def keep(self, path: Path) -> bool:
        """Take a file as the next input of this call; return whether its row is known and unchanged.

        Its content is read and hashed where a row might be known, unless its stamp says that nobody touched
        it. Raises `UsageError` where another input has the same name but for bytes that are not UTF-8.
        """
        text = path_text(path)
        stamp = stamp_of(path) if self._watch else None
        mine = self._index.first("SELECT position, sha256, stands, given FROM row WHERE path = ?", (text,))
        if mine is not None and mine[3] is not None:
            raise UsageError(
                f"{path}: two inputs have this name but for bytes that are not UTF-8; rename one"
            )
        content = self._content(path, text, stamp, mine)
        unchanged = content is not None and mine is not None and mine[1] == content and mine[2]
        other = None if content is None or unchanged else self._row_of(text, content)
        place = None if other is None else self._moved(text, *other)
        if mine is None:
            sql = "INSERT INTO row (position, path, given, stands) VALUES (?, ?, ?, 0)"
            self._index.run(sql, (self._next, text, self.given))
            position, self._next, self.changed = self._next, self._next + 1, True
        else:
            position = mine[0]
        sql = "UPDATE row SET given = ?, name = ?, stamp = ?, fresh = 0 WHERE position = ?"
        name = bytes(path)
        self._index.run(sql, (self.given, name, None if stamp is None else repr(stamp), position))
        self.given += 1
        if place is not None and other is not None:
            self._set(position, content, place, other[1:])
            self._index.run("DELETE FROM spare WHERE path = ? AND sha256 = ?", (text, content))
        return bool(unchanged or place is not None)

    def _content(self, path: Path, text: str, stamp: object, mine: object) -> str | None:
        """The hash of a file's content where a row might be known for it."""
        known = None
        if stamp is not None:
            sql = "SELECT sha256 FROM seen WHERE file = ? AND stamp = ?"
            known = self._index.first(sql, (seen_key(path), repr(stamp)))
            self._seen_again += known is not None
        if not self._any_stands:
            return None
        if not (self._watch or mine is not None or self._spare(text)):
            return None
        if known is not None:
            return str(known[0])
        try:
            return sha256_bytes(read_bytes(path))
        except DecodeError:
            return None

    def _spare(self, text: str) -> bool:
        return self._index.first("SELECT 1 FROM spare WHERE path = ?", (text,)) is not None

    def _row_of(self, text: str, content: str) -> Any:
        """Place, error and trained of a row for `content`: this path's own, else, if watched, another's."""
        facts = "SELECT place, error, trained FROM"
        found = self._index.first(f"{facts} spare WHERE path = ? AND sha256 = ?", (text, content))
        if found is None and self._watch:
            found = self._index.first(f"{facts} spare WHERE sha256 = ?", (content,)) or self._index.first(
                f"{facts} row WHERE sha256 = ? AND stands AND place IS NOT NULL", (content,)
            )
        return found

    def _moved(self, text: str, place: int, *_facts: int) -> int:
        """Return the row at `place` under the path `text`."""
        if not self._writes:
            return place
        row = self._row(place)
        return place if place >= 0 and row["path"] == text else self._append([row | {"path": text}])[0]

    def begin(self) -> None:
        """Open the journal, so that a place that cannot be written is noticed before anything is scored."""
        if self._writer is None:
            self._close_journal()  # what was read ahead of a cut line is no longer there
            self._writer = continue_journal(self._final, self._key)

    def _append(self, rows: Iterable[Row]) -> list[int]:
        self.begin()
        assert self._writer is not None
        return append(self._writer, self._final, rows)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep the rows of files that `keep` did not know, through a kill. Raises `OutputError`."""
        for row, place in zip(rows, self._append(rows), strict=True):
            sql = "SELECT position, place FROM row WHERE path = ?"
            position, before = self._index.first(sql, (row["path"],))
            self._index.run("UPDATE row SET fresh = 1 WHERE position = ?", (position,))
            same = before is not None and _same(self._row(before), row)
            self._set(position, row["sha256"], before if same else place, _facts(row))

    def _set(self, position: int, content: str | None, place: int, facts: Iterable[int]) -> None:
        error, trained = facts
        self.changed |= place >= 0
        self._index.run(
            "UPDATE row SET sha256 = ?, place = ?, error = ?, trained = ?, stands = ? WHERE position = ?",
            (content, place, error, trained, self._stands(bool(error), content), position),
        )

    def __len__(self) -> int:
        return self._next

    def scored(self) -> int:
        """The number of rows, from the first, that are known without a gap."""
        (first,) = self._index.first("SELECT min(position) FROM row WHERE place IS NULL")
        return self._next if first is None else int(first)

    def has_moved(self, start: int, stop: int) -> bool:
        """Return whether a row of positions `start` to `stop` is not in the table as it is."""
        sql = "SELECT 1 FROM row WHERE place >= 0 AND position >= ? AND position < ? LIMIT 1"
        return self._index.first(sql, (start, stop)) is not None

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[Row]:
        """The rows of positions `start` to `stop`, in order."""
        sql = "SELECT place FROM row WHERE position >= ? AND position < ? ORDER BY position"
        for (place,) in self._index.each(sql, (start, self._next if stop is None else stop)):
            yield self._row(place)

    def answers(self) -> Iterator[tuple[Path, Row]]:
        """Each input of this call and its row, in the order of the inputs."""
        sql = "SELECT name, place FROM row WHERE given IS NOT NULL ORDER BY given"
        for name, place in self._index.each(sql):
            yield _as_path(name), self._row(place)

    def files(self) -> Iterator[Path]:
        """The inputs of this call, in order."""
        for (name,) in self._index.each("SELECT name FROM row WHERE given IS NOT NULL ORDER BY given"):
            yield _as_path(name)

    def _row(self, place: int) -> Row:
        if place < 0:
            return self.earlier.row(-1 - place)
        if self._reader is None:
            self._reader = journal_path(self._final).open("rb")
        return row_at(self._reader, place)

    def counts(self, fresh: bool, most: int | None) -> Counts:
        """Count the results; with `fresh`, of the inputs scored now; `most` failed ones (None: all)."""
        where = "WHERE given IS NOT NULL" + (" AND fresh" if fresh else "")
        sql = f"SELECT count(*), total(error), total(trained) FROM row {where}"  # noqa: S608 (two constants)
        number, errors, trained = self._index.first(sql)
        sql = f"SELECT place FROM row {where} AND error ORDER BY given LIMIT ?"  # noqa: S608
        failed = [self._row(place) for (place,) in self._index.each(sql, (-1 if most is None else most,))]
        return Counts(number, int(errors), int(trained), failed)

    def count_below(self, folder: Path) -> tuple[int, int]:
        """Count the inputs of this call in `folder`, and the rows of the earlier table there."""
        inside = f"{path_text(folder).rstrip('/')}/"
        sql = "SELECT total(given IS NOT NULL), total(position < ?) FROM row WHERE substr(path, 1, ?) = ?"
        given, known = self._index.first(sql, (self.earlier.count, len(inside), inside))
        return int(given), int(known)

    def settle(self, start: int, stop: int) -> None:
        """Rows `start` to `stop` are in the table as it is now: the journal need not keep them any more."""
        sql = "UPDATE row SET place = -1 - position WHERE place >= 0 AND position >= ? AND position < ?"
        self._index.run(sql, (start, stop))
        kept = list(self._index.each("SELECT position, place FROM row WHERE place >= 0"))
        spare = list(self._index.each("SELECT rowid, place FROM spare"))
        places = [place for _, place in (*kept, *spare)]
        writer = begin_journal(self._final, self._key, map(self._row, places))
        self._close_journal()
        self._writer = writer
        new = [place for place, _ in journal_rows(self._final, self._key)]
        for (moved, _), place in zip(kept, new[: len(kept)], strict=True):
            self._index.run("UPDATE row SET place = ? WHERE position = ?", (place, moved))
        for (number, _), place in zip(spare, new[len(kept) :], strict=True):
            self._index.run("UPDATE spare SET place = ? WHERE rowid = ?", (place, number))

    def finish(self) -> None:
        """The table is written: remove the journal, and keep the stamps of files where they are watched."""
        self._close_journal()
        remove_journal(self._final)
        if not self._watch:
            return
        sql = "SELECT count(*) FROM row WHERE stamp IS NOT NULL AND sha256 IS NOT NULL"
        (now,) = self._index.first(sql)
        if not now == self._seen_again == self._seen_before:
            write_seen(self._final, self._stamped())

    def _stamped(self) -> Iterator[tuple[str, str, Any]]:
        sql = "SELECT name, sha256, stamp FROM row WHERE stamp IS NOT NULL AND sha256 IS NOT NULL"
        for name, content, stamp in self._index.each(sql):
            yield seen_key(_as_path(name)), content, tuple(map(int, stamp.strip("()").split(",")))

    def _close_journal(self) -> None:
        for file in (self._writer, self._reader):
            if file is not None:
                # What a full disk refused it refuses again, and was said.
                with suppress(OSError):
                    file.close()
        self._writer = self._reader = None

    def close(self) -> None:
        """Let go of all files; the journal stays."""
        self._close_journal()
        self._index.close()


def _facts(row: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether a row is an error's, and whether its image was trained on."""
    return row["status"] == "error", IN_TRAINING_DATA in (row["warnings"] or ())


def _same(before: Row, row: Row) -> bool:
    """Return whether a table that has the row `before` need not be written for `row`."""
    return all(before.get(name) == value for name, value in row.items())


def _as_path(name: bytes) -> Path:
    return Path(os.fsdecode(name))
