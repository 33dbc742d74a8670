"""The end of a prediction table: a file, a folder of parts, standard output, a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from magsd_cli.artifacts.sealed.parts import PART, PART_ROWS, PARTS, part_path
from magsd_cli.artifacts.sealed.row_groups import copy_to_stream, write_csv, write_rows
from magsd_cli.artifacts.tables import PREDICTION
from magsd_cli.errors import OutputError
from magsd_cli.inference.show import show_predictions
from magsd_cli.inference.table.store import RowStore

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """The head of a table, and its columns behind those of every prediction table."""

    metadata: Mapping[str, Any] = field(repr=False)
    further: Sequence[pa.Field] = ()


def is_csv(out: Path) -> bool:
    """Return whether a table of this name is written as CSV."""
    return out.suffix.lower() == ".csv"


def write_file(rows: Iterable[Row], out: Path, form: Form) -> None:
    """Write the table `out`, whole or not at all. Raises `OutputError`."""
    write = write_csv if is_csv(out) else write_rows
    write(rows, out, PREDICTION, form.metadata, form.further)


def write_standard_output(rows: Iterable[Row], form: Form, folder: Path) -> None:
    """Write a table to standard output: readable where that is a terminal, else Parquet by way of `folder`.

    Raises `OutputError`.
    """
    if sys.stdout is None:
        raise OutputError("standard output: is closed; use --out FILE")
    if sys.stdout.isatty():
        show_predictions(list(rows), form.metadata["classes"])
        return
    write_rows(rows, folder / "table.parquet", PREDICTION, form.metadata, form.further)
    try:
        copy_to_stream(folder / "table.parquet", sys.stdout.buffer)
    except OutputError:
        # Python would try to flush the broken pipe once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


class TableFolder:
    """The parts of a table in the folder `out`: each is written when its rows are there."""

    def __init__(self, out: Path, form: Form, store: RowStore, finished: bool) -> None:
        self._out, self._form, self._store, self._finished = out, form, store, finished
        self._starts = store.earlier.starts()
        # A part that was the last so far may get more rows; where there was none, all parts are whole.
        self._tail = self._starts.pop() if finished and self._starts else store.earlier.count

    def advance(self) -> None:
        """Write the parts that are whole and followed by more rows; the journal lets go of them."""
        while self._store.scored() > self._tail + PART_ROWS:
            self._write(len(self._starts), self._tail, self._tail + PART_ROWS, {})
            self._starts.append(self._tail)
            self._tail += PART_ROWS
            self._store.settle(self._starts[-1], self._tail)
            self._finished = False

    def finish(self) -> None:
        """Write the parts whose rows were replaced, then the last one, if anything is new."""
        self.advance()
        if self._finished and not self._store.changed:
            return
        ends = [*self._starts[1:], self._tail]
        for number, (start, end) in enumerate(zip(self._starts, ends, strict=False)):
            if self._store.has_moved(start, end):
                self._write(number, start, end, {})
        number = len(self._starts)
        if self._tail == len(self._store) and number:  # no row is left for another part
            number, self._tail = number - 1, self._starts[-1]
        self._write(number, self._tail, len(self._store), {PARTS: number + 1})

    def _write(self, number: int, start: int, end: int, more: Mapping[str, int]) -> None:
        path = part_path(self._out, number)
        metadata = {**self._form.metadata, PART: number, **more}
        write_rows(self._store.rows(start, end), path, PREDICTION, metadata, self._form.further)
        self._store.earlier.put(path, start, end)
