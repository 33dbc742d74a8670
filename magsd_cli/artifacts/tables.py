"""The result tables: predictions, out-of-fold predictions, localization; and plain tables beside them.

A result table is Parquet with page checksums and, because those do not cover Parquet's own headers and
footer, a seal: the SHA-256 of the whole file, standing in the file's key-value metadata (computed with zeros
in the seal's place). Any program reads the file as ordinary Parquet; `read_table` notices every flipped bit.
A plain table (samples, boxes, folds, history) has its SHA-256 in a file beside it instead.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from magsd_cli import __version__
from magsd_cli.artifacts.columns import column
from magsd_cli.artifacts.files import check_hash, hashed_path, write_bytes
from magsd_cli.artifacts.sealed.seal import OPEN_SEAL, SEAL, check_seal, seal
from magsd_cli.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd


SCHEMA_VERSION = 1
PREDICTION, OUT_OF_FOLD, LOCALIZATION = "prediction", "out_of_fold", "localization"
_KEY = b"magsd"
GROUP_ROWS = 10_000  # rows of tables that are written in pieces
Item = TypeVar("Item")

#: How far a row of probabilities may be from 1, float32 rounding of many classes included.
SUM_TOLERANCE = 1e-4
_STATUS = (
    ("path", pa.string()),
    ("sha256", pa.string()),
    ("status", pa.string()),
    ("error_code", pa.string()),
    ("error", pa.string()),
    ("warnings", pa.list_(pa.string())),
    ("predicted", pa.string()),
)

_JUDGED = (("decision", pa.string()), ("refer", pa.bool_()), ("refer_reason", pa.string()))
_LOCALIZED = (
    ("image_width", pa.int32()),
    ("image_height", pa.int32()),
    ("threshold", pa.float32()),
    ("x", pa.float32()),
    ("y", pa.float32()),
    ("width", pa.float32()),
    ("height", pa.float32()),
    ("area_share", pa.float32()),
    ("folds", pa.list_(pa.int32())),
    ("unseen", pa.bool_()),
    ("truth", pa.string()),
    ("label", pa.string()),
    ("iou_box", pa.float32()),
    ("iou_mask", pa.float32()),
    ("pointing_hit", pa.bool_()),
    ("control_iou_box", pa.float32()),
    ("control_iou_mask", pa.float32()),
    ("control_pointing", pa.float32()),
    ("overlay", pa.string()),
    ("mask", pa.string()),
)

#: What a localization measures, and what is measured in the same way beside the networks' map: the columns
#: ``<control>_<measure>``. control: other patients' maps.
LOCALIZATION_MEASURES = (
    "iou_box", "iou_mask", "over_0.25", "over_0.5", "pointing", "pixel_auc", "lungs", "zones",
)  # fmt: skip
LOCALIZATION_CONTROLS = ("control", "untrained", "start", "brightness", "constant", "whole")
_FIRST_CONTROLS = ("control_iou_box", "control_iou_mask", "control_pointing")

#: Columns of localization tables that the first of them had not.
_LOCALIZED_LATER = (
    ("patient_id", pa.string()),
    ("threshold_from", pa.string()),
    ("threshold_images", pa.int32()),
    ("lungs_inside", pa.float32()),
    ("lungs_share", pa.float32()),
    ("map", pa.string()),
    ("box_rule", pa.string()),
    ("chosen_on", pa.int32()),
    ("pixel_auc", pa.float32()),
    ("zones", pa.float32()),
    ("zones_status", pa.string()),
    ("readers_zones", pa.float32()),
    *(
        (f"{control}_{name}", pa.float32())
        for control in LOCALIZATION_CONTROLS
        for name in LOCALIZATION_MEASURES
        if f"{control}_{name}" not in _FIRST_CONTROLS
    ),
)

PARQUET: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}  # how tables are written
IN_TRAINING_DATA = "in_training_data"  # the warning on an image that the model was trained on


def table_schema(kind: str, classes: Sequence[str]) -> pa.Schema:
    """The columns of a table of `kind` for `classes`, in order."""
    probabilities = [(probability_column(name), pa.float32()) for name in classes]
    if kind == OUT_OF_FOLD:
        names = ("image_id", "path", "patient_id", "label")
        texts = [(name, pa.string()) for name in names]
        return pa.schema([*texts, ("fold", pa.int64()), ("predicted", pa.string()), *probabilities])
    common = [*_STATUS, *probabilities, ("confidence", pa.float32()), ("model_sha256", pa.string())]
    return pa.schema(
        {PREDICTION: [*common, *_JUDGED], LOCALIZATION: [*common, *_LOCALIZED, *_LOCALIZED_LATER]}[kind]
    )


def path_text(path: Path | str) -> str:
    """A path as text that any Parquet reader takes: bytes that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def probability_column(name: str) -> str:
    """The column that holds the probability of class `name`."""
    return f"p_{name}"


def write_table(table: pa.Table | pd.DataFrame, path: Path, kind: str, metadata: Mapping[str, Any]) -> None:
    """Check `table` against the schema of `kind`, seal it and write it atomically.

    `metadata` must have `classes` (in the order of the probabilities) and `model_sha256`; everything in it
    must be JSON, and goes into the file with the tool's version. Raises `ArtifactError` for a table that does
    not hold what it should, `OutputError` where it cannot be written.
    """
    write_bytes(path, table_bytes(table, kind, metadata))


def write_plain_csv(table: pa.Table, path: Path) -> None:
    """Write a table without lists as CSV in UTF-8, nulls empty. Raises `OutputError`."""
    import pyarrow.csv

    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer)
    write_bytes(path, buffer.getvalue())


def table_bytes(table: pa.Table | pd.DataFrame, kind: str, metadata: Mapping[str, Any]) -> bytes:
    """The bytes that `write_table` writes."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    where = f"{kind} table"
    table = fit_columns(table, table_schema(kind, metadata["classes"]), where)
    check_rows(table, table_head(kind, metadata), where)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(table_notes(kind, metadata)), buffer, **PARQUET)
    seal(buffer, where)
    return buffer.getvalue()


def table_head(kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the head of a table of `kind` that is written now."""
    return {"table": kind, "schema_version": SCHEMA_VERSION, "version": __version__, **metadata}


def table_notes(kind: str, metadata: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The key-value metadata of a table of `kind`, its seal still open."""
    text = json.dumps(table_head(kind, metadata), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {_KEY: text.encode(), SEAL: OPEN_SEAL}


def read_table(path: Path, kind: str) -> pa.Table:
    """Read a sealed table of `kind` and check all of it.

    Raises `ArtifactError` when it is missing, cut, changed by a single bit, of another kind or schema, or
    when its rows cannot be: probabilities outside [0, 1] or not summing to 1, two rows for one image,
    rows of several models, a class that is not its own.
    """
    try:
        data = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or error}; make the table again") from error
    check_seal(data, path)
    try:
        table = pq.read_table(data, page_checksum_verification=True)
        metadata = pq.read_metadata(data).metadata or {}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path}: not a whole Parquet table ({type(error).__name__}); make the table again"
        ) from error
    head = head_of(metadata, kind, path)
    table = fit_columns(table, table_schema(kind, head["classes"]), str(path))
    check_rows(table, head, str(path))
    return table.replace_schema_metadata({_KEY: metadata[_KEY]})


def head_of(metadata: Mapping[bytes, bytes], kind: str, path: Path) -> dict[str, Any]:
    """Return the head of the table `path` from its key-value metadata.

    Raises `ArtifactError` where it is of another kind than `kind`, or of another schema.
    """
    head: dict[str, Any] = json.loads(metadata.get(_KEY, b"{}"))
    if head.get("table") != kind or head.get("schema_version") != SCHEMA_VERSION:
        found = f"{head.get('table')} table, schema {head.get('schema_version')}"
        raise ArtifactError(f"{path}: a {found}, not a {kind} table of schema {SCHEMA_VERSION}")
    return head


def write_parquet(path: Path, table: pa.Table | pd.DataFrame) -> None:
    """Write a plain table with page checksums, and its hash beside it. Raises `OutputError`."""
    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    write_parquet_groups(path, [table])


def write_parquet_groups(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write a plain table as `write_parquet` does, from at least one piece; each is a row group.

    All have the columns of the first, whose notes the file keeps. Raises `OutputError`.
    """
    pieces = iter(tables)
    first = next(pieces)
    # Arrow takes names in UTF-8 alone: it gets an open file.
    with (
        hashed_path(path) as temporary,
        temporary.open("wb") as file,
        pq.ParquetWriter(file, first.schema, **PARQUET) as writer,
    ):
        for piece in chain([first], pieces):
            writer.write_table(piece.replace_schema_metadata(first.schema.metadata))


def groups(rows: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """`rows` as lists of `size`, of which the last may be shorter; an empty one where there are none."""
    source = iter(rows)
    some = list(islice(source, size))
    while True:
        yield some
        some = list(islice(source, size))
        if not some:
            return


def read_parquet(path: Path, remedy: str) -> pd.DataFrame:
    """Read what `write_parquet` wrote.

    Raises `ArtifactError`, which ends with `remedy`, when it is missing or damaged.
    """
    check_hash(path)
    try:
        with path.open("rb") as file:
            frame: pd.DataFrame = pq.read_table(file, page_checksum_verification=True).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path}: not a table ({type(error).__name__}); {remedy}") from error
    return frame


def table_metadata(table: pa.Table) -> dict[str, Any]:
    """Return a table's own metadata: table, schema_version, version, classes, model_sha256 and the rest."""
    metadata: dict[str, Any] = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    return metadata


def class_probabilities(table: pa.Table, classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Probabilities float32 [N,K] of a table, NaN on error rows."""
    # Not Arrow's own to_numpy, which imports pandas to ask about it; None becomes NaN here as well.
    columns = [np.array(table[probability_column(name)].to_pylist(), np.float32) for name in classes]
    return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0), np.float32)


def fit_columns(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """`table` with the schema's columns first and in order; further columns are kept behind them."""
    for name, kind in (*_JUDGED, *_LOCALIZED_LATER):  # tables of before there were these columns
        if name in schema.names and name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), kind))
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ArtifactError(f"{where}: column {', '.join(missing)} is missing; make the table again")
    further = [name for name in table.column_names if name not in schema.names]
    full = pa.schema([*schema, *(table.schema.field(name) for name in further)])
    try:
        return table.select(full.names).cast(full)
    except (pa.ArrowException, ValueError) as error:
        raise ArtifactError(
            f"{where}: a column has the wrong type ({error}); make the table again"
        ) from error


def check_rows(table: pa.Table, head: Mapping[str, Any], where: str) -> None:
    """Raise `ArtifactError`, which begins with `where`, for rows that a table of this head cannot have."""
    classes = list(head["classes"])
    if not classes or len(set(classes)) != len(classes):
        raise ArtifactError(f"{where}: its classes {classes} are not distinct names")
    key = "image_id" if head["table"] == OUT_OF_FOLD else "path"
    _require(table[key].null_count == 0, where, f"{key} is empty in a row")
    _require(pc.count_distinct(table[key]).as_py() == len(table), where, f"two rows have the same {key}")
    if head["table"] == OUT_OF_FOLD:
        scored = table
        known = pa.array(classes)
        _require(pc.all(pc.is_in(table["label"], known)).as_py() is not False, where, "unknown label")
        _require((pc.min(table["fold"]).as_py() or 0) >= 0, where, "negative fold")
    else:
        models = set(pc.unique(table["model_sha256"]).to_pylist())
        _require(models <= {head["model_sha256"]}, where, "it mixes rows of different models")
        states = table["status"].to_pylist()
        _require(set(states) <= {"ok", "error"}, where, "a status is neither ok nor error")
        scored = table.filter(column([state == "ok" for state in states], pa.bool_()))
        failed = table.filter(column([state == "error" for state in states], pa.bool_()))
        _require(failed["error_code"].null_count == 0, where, "an error row has no error_code")
        _require(failed["predicted"].null_count == len(failed), where, "an error row has a prediction")
        _require(scored["sha256"].null_count == 0, where, "an ok row has no sha256")
    _validate_probabilities(scored, classes, where)


def _validate_probabilities(scored: pa.Table, classes: list[str], where: str) -> None:
    """Check that probabilities are in [0, 1] and sum to 1, and `predicted` is the class of the largest."""
    values = class_probabilities(scored, classes)
    inside = np.isfinite(values) & (values >= 0) & (values <= 1)
    _require(bool(inside.all()), where, "a probability is outside [0, 1]")
    _require(
        bool((np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= SUM_TOLERANCE).all()),
        where,
        "the probabilities of a row do not sum to 1",
    )
    number = {name: i for i, name in enumerate(classes)}
    predicted = [number.get(name, -1) for name in scored["predicted"].to_pylist()]
    _require(-1 not in predicted, where, "a predicted class is not one of its classes")
    chosen = np.take_along_axis(values, np.array(predicted, dtype=np.intp).reshape(-1, 1), axis=1)
    largest = values.max(axis=1, initial=0, keepdims=True)
    _require(
        bool((chosen == largest).all()), where, "predicted is not the class with the largest probability"
    )


def _require(holds: bool, where: str, reason: str) -> None:
    if not holds:
        raise ArtifactError(f"{where}: {reason}; make the table again")
