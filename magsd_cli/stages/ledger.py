"""What an output knows already: the table itself is the ledger, by path, content and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.files import sha256_bytes
from magsd_cli.artifacts.journal import read_journal
from magsd_cli.artifacts.tables import PREDICTION, path_text, read_table, table_metadata
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import ArtifactError

Row = dict[str, Any]
RULES = (
    "operating_sha256",
    "temperature",
    "precision",
)  # of a table's metadata: what else than the model makes its rows


@dataclass(frozen=True)
class Ledger:
    """Rows that stand: `earlier` are the table's own in order, the others are looked up.

    With `any_path` a content that was seen under one path is known under every other. `key` says which model
    and which rules the rows are of.
    """

    earlier: list[Row] = field(default_factory=list, repr=False)
    by_file: dict[tuple[str, str], Row] = field(default_factory=dict, repr=False)
    by_content: dict[str, Row] = field(default_factory=dict, repr=False)
    any_path: bool = False
    key: str = ""


def read_ledger(
    out: Path | None, model: str, keep: bool, watch: bool, rules: Mapping[str, Any] | None = None
) -> Ledger:
    """Rows of the table `out` (if it is to be kept) and of an interrupted run's journal, of this `model`.

    `rules`: what the new rows' table will say of how they came about; others than that are not kept either.

    Ok rows stand. Of error rows only those that the content explains stand, and only in `watch`: a file that
    could not be read, or took its process with it, is tried again. Raises `ArtifactError` when the table is
    damaged or another model's: a table never mixes models.
    """
    rules = rules or {}
    key = " ".join([model, *(str(rules[name]) for name in RULES if rules.get(name))])
    if out is None:
        return Ledger(key=key)
    earlier: list[Row] = []
    if keep and out.exists():
        table = read_table(out, PREDICTION)
        of = table_metadata(table)["model_sha256"]
        if of != model:
            raise ArtifactError(
                f"{out}: its rows are of the model {of[:8]}, not {model[:8]}; choose that model with "
                "--model, or use --overwrite to score every file again"
            )
        if any((table_metadata(table).get(name) or None) != (rules.get(name) or None) for name in RULES):
            raise ArtifactError(
                f"{out}: its rows were computed, calibrated or decided otherwise; give them a file of their "
                "own, or use --overwrite to score every file again"
            )
        earlier = table.to_pylist()
    stand = [
        row
        for row in [*earlier, *read_journal(out, key)]
        if row["status"] == "ok" or (watch and row["sha256"] is not None)
    ]
    by_content = {row["sha256"]: row for row in stand}
    return Ledger(earlier, {(row["path"], row["sha256"]): row for row in stand}, by_content, watch, key)


def unchanged(
    ledger: Ledger, files: Sequence[Path], contents: Mapping[Path, str] | None = None
) -> dict[Path, Row]:
    """The rows of those `files` whose content is known.

    Their content is read and hashed, but for those whose hash is in `contents`: nothing touched them since.
    """
    contents = contents or {}
    paths = {path for path, _ in ledger.by_file}
    kept = {}
    for path in files:
        text = path_text(path)
        if not ledger.by_content or not (ledger.any_path or text in paths):
            continue
        try:
            content = contents.get(path) or sha256_bytes(read_bytes(path))
        except DecodeError:
            continue
        row = ledger.by_file.get((text, content))
        if row is None and ledger.any_path and content in ledger.by_content:
            row = ledger.by_content[content] | {"path": text}
        if row is not None:
            kept[path] = row
    return kept


def merged(ledger: Ledger, rows: Sequence[Row]) -> list[Row]:
    """The table's earlier rows, those of changed files replaced in their place, new files' rows behind."""
    fresh = {row["path"]: row for row in rows}
    known = {row["path"] for row in ledger.earlier}
    return [
        *(fresh.get(row["path"], row) for row in ledger.earlier),
        *(row for row in rows if row["path"] not in known),
    ]
