"""A prediction table as a folder of tables: ``part-00000.parquet``, ``part-00001.parquet``, ...

Each part is a sealed table, whole when it appears, and says which part it is. The last one says too how many
there are: without it the table is not finished. Any reader of Parquet takes the folder as one data set.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from magsd_cli.artifacts.files import sync_folder
from magsd_cli.artifacts.sealed.row_groups import open_table
from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.errors import ArtifactError, OutputError

PART_ROWS = 100_000
_NEW, _READY = ".new", ".ready"  # in a table's folder: parts that will replace it; those that do so now
PART, PARTS = "part", "parts"  # in a part's metadata: its number; in the last one's: how many there are
_NAME = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True)
class Part:
    """A part of a table: where it stands, how many rows it has, what it says of itself."""

    path: Path
    rows: int
    head: Mapping[str, Any] = field(repr=False)


def part_path(folder: Path, number: int) -> Path:
    """Return the path of part `number` of the table `folder`."""
    return folder / f"part-{number:05}.parquet"


def part_files(folder: Path) -> list[Path]:
    """The parts in `folder` in order, whether whole or not; [] where there is no such folder."""
    if not folder.is_dir():
        return []
    found = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return [found[number] for number in sorted(found)]


def new_parts(folder: Path) -> Path:
    """Return the folder of the parts that will replace those in `folder`: in it, so on the same disk."""
    return folder / _NEW


def begin_anew(folder: Path) -> None:
    """Make `new_parts` an empty folder. Raises `OutputError`."""
    drop_new_parts(folder)
    with _written(folder):
        new_parts(folder).mkdir(parents=True)


def drop_new_parts(folder: Path) -> None:
    """Remove the `new_parts` of a replacement that was given up. Raises `OutputError`."""
    if new_parts(folder).is_dir():
        with _written(folder):
            shutil.rmtree(new_parts(folder))


def replace_parts(folder: Path) -> None:
    """Put the finished `new_parts` in the place of all parts in `folder`; nothing happens without them.

    A kill in between leaves a folder that is read as an unfinished table until `complete_replacement` has
    gone on with it. Raises `OutputError`.
    """
    if new_parts(folder).is_dir():
        with _written(folder):
            new_parts(folder).rename(folder / _READY)
            sync_folder(folder)
        complete_replacement(folder)


def complete_replacement(folder: Path) -> None:
    """Go on where `replace_parts` was cut short, if it was. Raises `OutputError`."""
    ready = folder / _READY
    if not ready.is_dir():
        return
    coming = part_files(ready)
    with _written(folder):
        # Of two tables the last part, which says that all are there, goes first and comes last. Parts below
        # the first that is still to come are new already.
        for path in reversed(part_files(folder)):
            if coming and path.name >= coming[0].name:
                path.unlink()
        for path in coming:
            path.rename(folder / path.name)
        sync_folder(folder)
        shutil.rmtree(ready)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Raise what the system refuses as `OutputError`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder}: {error.strerror or error}; choose a folder that can be written"
        ) from error


def strangers(folder: Path) -> list[Path]:
    """List what is in `folder` and not a part; hidden files may be there."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if not (path.name.startswith(".") or _NAME.fullmatch(path.name))
    )


def read_parts(folder: Path) -> list[Part]:
    """The parts of a table, finished or not, once their seals are checked.

    Raises `ArtifactError` where one is missing, damaged, or of another table.
    """
    parts: list[Part] = []
    for number, path in enumerate(part_files(folder)):
        if path != part_path(folder, number):
            raise ArtifactError(f"{part_path(folder, number)}: is missing; restore an intact copy")
        with open_table(path, PREDICTION) as table:
            part = Part(path, table.rows, table.head)
        if part.head.get(PART) != number:
            raise ArtifactError(f"{path}: is no part {number} of a table; restore an intact copy")
        if parts and _shared(part.head) != _shared(parts[0].head):
            raise ArtifactError(f"{path}: is of another table than {parts[0].path.name}; keep them apart")
        parts.append(part)
    for part in parts[:-1]:
        if PARTS in part.head:
            raise ArtifactError(f"{parts[-1].path}: is a part too many; restore an intact copy")
    if parts and parts[-1].head.get(PARTS, len(parts)) != len(parts):
        raise ArtifactError(f"{folder}: parts are missing; restore an intact copy")
    return parts


def is_finished(parts: list[Part]) -> bool:
    """Return whether the last part is there."""
    return bool(parts) and PARTS in parts[-1].head


def read_predictions(path: Path) -> pa.Table:
    """A prediction table, checked as `read_table` does: a file, or a finished folder of parts.

    Raises `ArtifactError`.
    """
    if not path.is_dir():
        return read_table(path, PREDICTION)
    parts = read_parts(path)
    if not parts:
        raise ArtifactError(f"{path}: no prediction table is there; name what predict wrote")
    if not is_finished(parts):
        raise ArtifactError(
            f"{path}: its table is not finished; run the command that makes it again to complete it"
        )
    tables = [read_table(part.path, PREDICTION) for part in parts]
    table = pa.concat_tables([table.replace_schema_metadata(tables[0].schema.metadata) for table in tables])
    if pc.count_distinct(table["path"]).as_py() != len(table):
        raise ArtifactError(f"{path}: two rows have the same path; make the table again")
    return table


def problems_of_parts(folder: Path) -> list[str]:
    """List the problems of the folder as a whole, a line each; its parts' own seals are not looked at."""
    try:
        parts = read_parts(folder)
    except ArtifactError as error:
        return [str(error)]
    if parts and not is_finished(parts):
        return [f"{folder}: its table is not finished; run the command that makes it again to complete it"]
    return []


def _shared(head: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all parts of a table have in common."""
    return {name: head.get(name) for name in ("classes", "model_sha256", "operating_sha256", "precision")}
