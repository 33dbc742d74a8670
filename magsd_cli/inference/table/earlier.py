"""The rows of a table as it is now: a file or parts of a folder, read in pieces, single rows looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.sealed.parts import is_finished, new_parts, part_files, read_parts
from magsd_cli.artifacts.sealed.row_groups import SealedTable, open_table
from magsd_cli.artifacts.tables import PREDICTION
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.resume import Row, check_own, journal_key, rows_key

_FACTS = ("path", "sha256", "status", "warnings")
_OPEN = 4  # tables that are open at a time


class EarlierRows:
    """The rows of `paths` one after the other; none of them: a table that is begun anew."""

    def __init__(self, rows: Mapping[Path, int] | None = None) -> None:
        self._parts: dict[Path, tuple[int, int]] = {}  # where the rows of each begin and end
        for path, number in (rows or {}).items():
            self._parts[path] = (self.count, self.count + number)
        self._open: dict[Path, tuple[ExitStack, SealedTable]] = {}

    @property
    def count(self) -> int:
        """The number of rows."""
        return max((end for _, end in self._parts.values()), default=0)

    def starts(self) -> list[int]:
        """The position of the first row of each part."""
        return [start for start, _ in self._parts.values()]

    def facts(self) -> Iterator[dict[str, Any]]:
        """Path, sha256, status and warnings of each row, in order. Raises `ArtifactError`."""
        for path in self._parts:
            with open_table(path, PREDICTION) as table:
                for some in table.tables():
                    yield from some.select(_FACTS).to_pylist()

    def columns(self) -> set[str]:
        """The columns that a table has."""
        return {name for path in self._parts for name in self._table(path).columns}

    def row(self, number: int) -> Row:
        """Row `number`, from 0. Raises `ArtifactError` where its table is damaged."""
        for path, (start, end) in self._parts.items():
            if start <= number < end:
                return self._table(path).row(number - start)
        raise IndexError(number)

    def put(self, path: Path, start: int, end: int) -> None:
        """Take up a part that was written just now, in the place of the one that had this name."""
        self._parts[path] = (start, end)
        if path in self._open:
            self._open.pop(path)[0].close()

    def doubled(self, path: str) -> ArtifactError:
        """The error of a table in which two rows have the same path."""
        return ArtifactError(
            f"{next(iter(self._parts))}: two rows have the path {path}; make the table again"
        )

    def _table(self, path: Path) -> SealedTable:
        if path not in self._open:
            if len(self._open) == _OPEN:
                self._open.pop(next(iter(self._open)))[0].close()
            stack = ExitStack()
            self._open[path] = (stack, stack.enter_context(open_table(path, PREDICTION)))
        return self._open[path][1]

    def close(self) -> None:
        """Let go of the open tables."""
        while self._open:
            self._open.popitem()[1][0].close()


@dataclass(frozen=True)
class Known:
    """A table as it is: its rows, the key of the journal that goes on, whether all its parts are there.

    `place`: the table, or the folder where the parts that will replace it are written.
    """

    rows: EarlierRows
    key: str
    place: Path
    finished: bool = False


def known_rows(
    out: Path, parts: bool, keep: bool, overwrite: bool, model: str, rules: Mapping[str, Any]
) -> Known:
    """The rows of the table `out`, a folder with `parts`, which rows of `model` under `rules` will join.

    keep: its rows stay. Without that a file is begun anew; a folder too if `overwrite`, unless a run that
    overwrites was interrupted: then what that one has written goes on. The parts that are replaced stay until
    all new ones are there. Raises `ArtifactError` when it is damaged, or of another model or other rules.
    """
    key = rows_key(model, rules)
    if not parts:
        return Known(_rows_of_file(out, model, rules) if keep and out.exists() else EarlierRows(), key, out)
    anew, new = f"{key} overwrite", new_parts(out)
    begun = journal_key(out) == anew
    if overwrite and not begun:
        return Known(EarlierRows(), anew, new if part_files(out) else out)
    place = new if overwrite and new.is_dir() else out
    found = read_parts(place)
    for part in found:
        check_own(part.head, part.path, model, rules)
    known = EarlierRows({part.path: part.rows for part in found})
    # Without --overwrite the table that stands is the one: a replacement that was begun is given up.
    goes_on = begun and (overwrite or not new.is_dir())
    return Known(known, anew if goes_on else key, place, is_finished(found))


def _rows_of_file(out: Path, model: str, rules: Mapping[str, Any]) -> EarlierRows:
    with open_table(out, PREDICTION) as table:
        check_own(table.head, out, model, rules)
        return EarlierRows({out: table.rows})
