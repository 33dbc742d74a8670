"""SQL over a database that lives in memory while it is small and in a temporary file when it grows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from magsd_cli.errors import OutputError


class Index:
    """A private SQLite database that is gone with the object; `schema` makes its tables.

    Its methods raise `OutputError` where the temporary folder is full.
    """

    def __init__(self, schema: str) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {schema}; BEGIN")

    def run(self, sql: str, values: Iterable[Any] = ()) -> int:
        """Execute one statement; return how many rows it changed."""
        with _said():
            return self._database.execute(sql, tuple(values)).rowcount

    def first(self, sql: str, values: Iterable[Any] = ()) -> Any:
        """The first row of an answer as a tuple, or None."""
        with _said():
            return self._database.execute(sql, tuple(values)).fetchone()

    def each(self, sql: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        """The rows of an answer, one at a time."""
        with _said():
            for row in self._database.execute(sql, tuple(values)):  # noqa: UP028 (it would close the cursor)
                yield row

    def close(self) -> None:
        """Let go of the database and its temporary file."""
        self._database.close()


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(
            f"temporary folder: {error}; free some space, or name another folder in the variable TMPDIR"
        ) from error
