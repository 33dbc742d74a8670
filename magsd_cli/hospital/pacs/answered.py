"""The studies that have an answer: the table and, until that is written, the journal beside it.

A study enters the journal as one line, so that after a kill it is there with all its images or not at all.
The table has a row an image; its path is ``<study>/<image>``, both as keyed hashes, and behind the columns of
every prediction table it has

- study: the study's keyed hash;
- answer: a keyed hash of the images that the study's answer rests on, and of the model;
- replaces: the answer that this one takes the place of, because the study has grown; else null;
- stored: whether the PACS has the answer's objects; null where there is nothing to store.

A study that could not be fetched has one row whose path is the study alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from magsd_cli.artifacts.columns import column, table_from_rows
from magsd_cli.artifacts.tables import PREDICTION, table_schema, write_table
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.resume import (
    Row,
    append,
    open_journal,
    read_journal,
    read_own_table,
    remove_journal,
    rows_key,
)

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("study", "answer", "replaces", "stored")


@dataclass
class Answer:
    """A study's answer: its id, its images, whether the PACS has it (None: there is nothing to store)."""

    answer: str
    images: set[str] = field(default_factory=set)
    stored: bool | None = None

    def covers(self, images: set[str], store: bool) -> bool:
        """Return whether nothing is left to do for a study of `images`."""
        return images <= self.images and not (store and self.stored is False)


class AnsweredStudies:
    """The answers that stand and those that come, of one model under one set of rules.

    about: the table's metadata. Raises `ArtifactError` where the table is damaged or another model's.
    """

    def __init__(self, out: Path, model_sha256: str, about: dict[str, Any]) -> None:
        self._out, self._about = out, about
        self._key = "pacs " + rows_key(model_sha256, about)
        self._earlier: pa.Table | None = None
        if out.exists():
            self._earlier = read_own_table(out, model_sha256, about)
            if not set(COLUMNS) <= set(self._earlier.column_names):
                raise ArtifactError(f"{out}: is not a screening table; name another file with --out")
        self._fresh: dict[str, list[Row]] = {}
        self._answers: dict[str, Answer] = {}
        self.failed: set[str] = set()  #: studies whose last row is an error
        for rows in self._earlier_rows():
            self._note(rows)
        for record in read_journal(out, self._key):
            self._take(record["study"], record["rows"])
        self._journal: BinaryIO | None = None

    def answer(self, study: str) -> Answer | None:
        """The answer that stands for a study, by its keyed hash."""
        return self._answers.get(study)

    @contextmanager
    def journal(self) -> Iterator[None]:
        """Keep what `add` is given through a kill, from here to the end of the block."""
        known = ({"study": study, "rows": rows} for study, rows in self._fresh.items())
        with open_journal(self._out, self._key, known) as self._journal:
            yield
        self._journal = None

    def add(self, study: str, rows: list[Row]) -> None:
        """A study's rows, all of them. Raises `OutputError` when the disk is full."""
        assert self._journal is not None
        append(self._journal, self._out, [{"study": study, "rows": rows}])
        self._take(study, rows)

    def write(self) -> None:
        """Write the table, if a row came, and remove the journal. Raises `OutputError`."""
        if self._fresh or self._earlier is None:
            write_table(self._table(), self._out, PREDICTION, self._about)
        remove_journal(self._out)

    def _take(self, study: str, rows: list[Row]) -> None:
        self._fresh[study] = rows
        for row in rows:
            self._note(row)

    def _note(self, row: Row) -> None:
        study = row["study"]
        if row["path"] == study:
            self.failed.add(study)
            return
        self.failed.discard(study)
        known = self._answers.setdefault(study, Answer(row["answer"]))
        known.answer, known.stored = row["answer"], row["stored"]  # the last row has the newest
        known.images.add(row["path"])

    def _earlier_rows(self) -> Iterator[Row]:
        if self._earlier is not None:
            for batch in self._earlier.select(["path", *COLUMNS]).to_batches(max_chunksize=1000):
                yield from batch.to_pylist()

    def _table(self) -> pa.Table:
        """The earlier rows without those that have a newer one, then the new ones."""
        import pyarrow as pa

        rows = [row for rows in self._fresh.values() for row in rows]
        texts = [(name, pa.string()) for name in COLUMNS[:3]]
        schema = table_schema(PREDICTION, self._about["classes"])
        schema = pa.schema([*schema, *texts, (COLUMNS[3], pa.bool_())])
        table = table_from_rows(rows, schema)
        if self._earlier is None:
            return table
        gone = {row["path"] for row in rows} | {
            study for study, fresh in self._fresh.items() if fresh and fresh[0]["path"] != study
        }
        keep = [path not in gone for path in self._earlier["path"].to_pylist()]
        earlier = self._earlier.filter(column(keep, pa.bool_())).select(schema.names)
        return pa.concat_tables([earlier.cast(schema), table])
