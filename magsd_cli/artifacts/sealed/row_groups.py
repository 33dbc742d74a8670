"""Result tables that are written and read in pieces, so that memory does not grow with their rows.

A table of at most `GROUP_ROWS` rows has the bytes that `write_table` would give it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from magsd_cli.artifacts.columns import column, table_from_rows
from magsd_cli.artifacts.files import atomic_path
from magsd_cli.artifacts.sealed.seal import check_seal, seal
from magsd_cli.artifacts.tables import (
    GROUP_ROWS,
    PARQUET,
    check_rows,
    fit_columns,
    groups,
    head_of,
    table_head,
    table_notes,
    table_schema,
)
from magsd_cli.errors import ArtifactError, OutputError

_SLICE = 256  # rows that become Python objects at a time when single ones are looked up
Row = dict[str, Any]


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    kind: str,
    metadata: Mapping[str, Any],
    further: Sequence[pa.Field] = (),
) -> None:
    """Write `rows` as a sealed table, atomically; they are checked a row group at a time.

    metadata: as for `write_table`. `further`: columns behind those of the schema. That no two rows are of one
    image is the caller's to see to. Raises `ArtifactError` for rows that cannot be, `OutputError`.
    """
    schema = pa.schema([*table_schema(kind, metadata["classes"]), *further])
    notes = schema.with_metadata(table_notes(kind, metadata))
    # Arrow takes names in UTF-8 alone: it gets an open file.
    with atomic_path(path) as temporary, temporary.open("wb+") as file:
        with pq.ParquetWriter(file, notes, **PARQUET) as writer:
            for table in _tables(rows, schema, kind, metadata):
                writer.write_table(table.replace_schema_metadata(notes.metadata))
        seal(file, f"{kind} table")


def write_csv(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    kind: str,
    metadata: Mapping[str, Any],
    further: Sequence[pa.Field] = (),
) -> None:
    """Write `rows`, checked as in `write_rows`, as CSV in UTF-8: nulls empty, lists joined by "; ".

    Of the model that made it the file has the column `model_sha256` alone. Raises as `write_rows`.
    """
    import pyarrow.csv

    schema = pa.schema([*table_schema(kind, metadata["classes"]), *further])
    plain = pa.schema([(one.name, pa.string() if pa.types.is_list(one.type) else one.type) for one in schema])
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        pyarrow.csv.CSVWriter(file, plain) as writer,
    ):
        for table in _tables(rows, schema, kind, metadata):
            writer.write_table(_without_lists(table))


def _without_lists(table: pa.Table) -> pa.Table:
    for number, one in enumerate(table.schema):
        if pa.types.is_list(one.type):
            rows = table[one.name].to_pylist()
            texts = [None if row is None else "; ".join(map(str, row)) for row in rows]
            table = table.set_column(number, one.name, column(texts, pa.string()))
    return table


def _tables(
    rows: Iterable[Mapping[str, Any]], schema: pa.Schema, kind: str, metadata: Mapping[str, Any]
) -> Iterator[pa.Table]:
    """`rows` as checked tables of `GROUP_ROWS` rows; an empty one where there are none."""
    head = table_head(kind, metadata)
    for some in groups(rows, GROUP_ROWS):
        yield _checked(some, schema, head)


def _checked(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, head: Mapping[str, Any]) -> pa.Table:
    table = table_from_rows(rows, schema)
    check_rows(table, head, f"{head['table']} table")
    return table


class SealedTable:
    """A sealed table of `kind` that is read in pieces; `head` is what it says of itself."""

    def __init__(self, path: Path, kind: str, file: BinaryIO) -> None:
        self.path, self._kind = path, kind
        try:
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True)
            self.rows: int = self._parquet.metadata.num_rows
            self.columns: tuple[str, ...] = tuple(self._parquet.schema_arrow.names)
            self.head = head_of(self._parquet.metadata.metadata or {}, kind, path)
        except (OSError, ValueError, KeyError, pa.ArrowException, json.JSONDecodeError) as error:
            raise self._broken(error) from error
        self._group: tuple[int, int, pa.Table] | None = None  # first row, end, rows
        self._some: tuple[int, list[Row]] = (0, [])

    def tables(self) -> Iterator[pa.Table]:
        """All rows, `GROUP_ROWS` at a time, with the columns of today. Raises `ArtifactError`."""
        try:
            for batch in self._parquet.iter_batches(batch_size=GROUP_ROWS):
                yield self._fit(pa.Table.from_batches([batch]))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._broken(error) from error

    def row(self, number: int) -> Row:
        """Row `number` of the table; neighbours are at hand afterwards."""
        start, rows = self._some
        if not start <= number < start + len(rows):
            first, table = self._group_of(number)
            start = number - (number - first) % _SLICE
            rows = table.slice(start - first, _SLICE).to_pylist()
            self._some = (start, rows)
        return dict(rows[number - start])

    def _group_of(self, number: int) -> tuple[int, pa.Table]:
        if self._group is None or not self._group[0] <= number < self._group[1]:
            first, which = 0, 0
            while first + (count := self._parquet.metadata.row_group(which).num_rows) <= number:
                first, which = first + count, which + 1
            try:
                table = self._fit(self._parquet.read_row_group(which))
            except (OSError, ValueError, pa.ArrowException) as error:
                raise self._broken(error) from error
            self._group = (first, first + count, table)
        return self._group[0], self._group[2]

    def _fit(self, table: pa.Table) -> pa.Table:
        table = fit_columns(table, table_schema(self._kind, self.head["classes"]), str(self.path))
        check_rows(table, self.head, str(self.path))
        return table

    def _broken(self, error: Exception) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: not a whole Parquet table ({type(error).__name__}); make the table again"
        )


@contextmanager
def open_table(path: Path, kind: str) -> Iterator[SealedTable]:
    """The sealed table `path`, once its seal is checked. Raises `ArtifactError`, as `read_table` does.

    That no two rows are of one image is not looked at.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}; make the table again") from error
    with file:
        check_seal(file, path)
        yield SealedTable(path, kind, file)


def copy_to_stream(path: Path, target: BinaryIO) -> None:
    """Write the bytes of a finished table to standard output. Raises `OutputError` (a closed pipe too)."""
    try:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                target.write(piece)
        target.flush()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"standard output: {reason}; use --out FILE, which is never left half") from error
