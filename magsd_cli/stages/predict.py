"""`magsd predict`: one row for every input file, in input order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from magsd_cli.artifacts.files import lock, sha256_bytes, sweep_orphans
from magsd_cli.artifacts.journal import append, open_journal, read_journal, remove_journal
from magsd_cli.artifacts.runs import Run
from magsd_cli.artifacts.tables import (
    PREDICTION,
    path_text,
    probability_column,
    read_table,
    table_metadata,
    table_schema,
    write_table,
)
from magsd_cli.console import progress, say
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import ArtifactError, NoInputError, OutputError, UsageError
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.inference.scoring import Scored, score_files
from magsd_cli.stages.trained import fold_of_content, model_sha256, open_trained, preparation

Row = dict[str, Any]
IN_TRAINING_DATA = "in_training_data"


@dataclass(frozen=True)
class Plan:
    """What is to be scored with what, and what is known already: rows by (path, content hash)."""

    files: list[Path]
    run: Run
    model: str
    known: dict[tuple[str, str], Row] = field(repr=False)


def predict(
    *,
    inputs: Sequence[Path],
    model: Path | None,
    runs: Path,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    engine: str = "auto",
    device: str = "auto",
    gpus: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
) -> int:
    """Classify the files that `inputs` mean with the run `model` (None: the newest) and write the table.

    Without `out` the table goes to standard output: as Parquet, or readable where that is a terminal. An
    existing `out` is refused, continued (`resume`: rows of unchanged files are kept) or replaced
    (`overwrite`). Returns 0, or 3 when a file has an error row. Raises `NoInputError` (after the table is
    written) when no file could be used, and the other errors of the contract.
    """
    _check_options(out, resume, overwrite, engine)
    with _claimed(out):
        if out is not None and out.exists() and not (resume or overwrite):
            raise UsageError(
                f"{out}: exists already; add --resume to complete it or --overwrite to replace it"
            )
        files = [path for path in list_inputs(inputs) if out is None or not _same(path, out)]
        if not files:
            raise NoInputError(f"{_names(inputs)}: no files there; name images or folders of images")
        run = open_trained(model, runs)
        digest = model_sha256(run)
        plan = Plan(files, run, digest, _known_rows(out, resume, digest))
        rows = _all_rows(plan, out, device, gpus, batch_size, workers)
        _write(rows, plan, out)
        if out is not None:
            remove_journal(out)
    return _conclude(rows, files)


def _check_options(out: Path | None, resume: bool, overwrite: bool, engine: str) -> None:
    if resume and overwrite:
        raise UsageError("--resume keeps the rows of the table, --overwrite replaces it; give one of the two")
    if (resume or overwrite) and out is None:
        raise UsageError(f"--{'resume' if resume else 'overwrite'}: say which table with --out FILE")
    if out is not None and out.is_dir():
        raise UsageError(f"{out}: is a folder; name a file, such as {out / 'predictions.parquet'}")
    if engine == "onnxruntime":
        raise UsageError("--engine onnxruntime: not available in this version; leave --engine away")


@contextmanager
def _claimed(out: Path | None) -> Iterator[None]:
    """The lock of the output, and an end to what dead writers left beside it."""
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(lock(out.with_name(f".{out.name}.lock")))
            sweep_orphans(out.parent)
        yield


def _same(path: Path, other: Path) -> bool:
    return os.path.abspath(path) == os.path.abspath(other)  # noqa: PTH100 (links must stay what they are)


def _names(inputs: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in inputs[:3]) + (", ..." if len(inputs) > 3 else "")


def _known_rows(out: Path | None, resume: bool, model: str) -> dict[tuple[str, str], Row]:
    """Ok rows of the table that is resumed and of an interrupted run's journal, by (path, content hash).

    Raises `ArtifactError` when the table is damaged or another model's: a table never mixes models.
    """
    if out is None:
        return {}
    rows: list[Row] = []
    if resume and out.exists():
        table = read_table(out, PREDICTION)
        earlier = table_metadata(table)["model_sha256"]
        if earlier != model:
            raise ArtifactError(
                f"{out}: its rows are of the model {earlier[:8]}, not {model[:8]}; choose that model with "
                "--model, or use --overwrite to score every file again"
            )
        rows += table.to_pylist()
    rows += read_journal(out, model)
    return {(row["path"], row["sha256"]): row for row in rows if row["status"] == "ok"}


def _all_rows(
    plan: Plan,
    out: Path | None,
    device: str,
    gpus: int | None,
    batch_size: int | None,
    workers: int | None,
) -> list[Row]:
    """The row of every file, in order: known ones as they are, the others scored now."""
    kept = _unchanged(plan)
    if kept:
        say(f"{len(kept)} of {len(plan.files)} files are scored already and unchanged; their rows are kept")
    missing = [path for path in plan.files if path not in kept]
    rows = dict(kept)
    if missing:
        trained_on = fold_of_content(plan.run) or {}
        answers = _score(plan.run, missing, device, gpus, batch_size, workers)
        started = time.monotonic()
        with ExitStack() as stack:
            keep = _keeper(out, plan, stack)
            bar = stack.enter_context(progress("predict", len(missing)))
            for some in answers:
                fresh = {answer.path: _row(answer, plan, trained_on) for answer in some}
                keep(fresh.values())
                rows |= fresh
                bar.update(len(some), f"{len(rows) / (time.monotonic() - started):.1f} images/s")
    return [rows[path] for path in plan.files]


def _unchanged(plan: Plan) -> dict[Path, Row]:
    """Rows that stand for a file as it is now: same path, same content."""
    paths = {path for path, _ in plan.known}
    kept = {}
    for path in plan.files:
        text = path_text(path)
        if text in paths:
            try:
                row = plan.known.get((text, sha256_bytes(read_bytes(path))))
            except DecodeError:
                continue
            if row is not None:
                kept[path] = row
    return kept


def _keeper(out: Path | None, plan: Plan, stack: ExitStack) -> Callable[[Iterable[Row]], None]:
    """What keeps finished rows through a kill: the journal beside --out, nothing for standard output."""
    if out is None:
        return lambda _rows: None
    final = out
    journal: BinaryIO = stack.enter_context(open_journal(final, plan.model, plan.known.values()))
    return lambda rows: append(journal, final, rows)


def _score(
    run: Run,
    files: list[Path],
    device: str,
    gpus: int | None,
    batch_size: int | None,
    workers: int | None,
) -> Iterator[list[Scored]]:
    """Answers for `files`, in order, computed with torch."""
    from magsd_cli.inference.prediction import predict_images
    from magsd_cli.stages.device import choose_devices, describe
    from magsd_cli.stages.networks import load_ensemble

    chosen = choose_devices(device, gpus)[0]
    ensemble = load_ensemble(run, device=chosen)
    # On a CPU one image at a time is as fast as a batch, and then a row is the same bits whatever else is
    # scored beside it, today or when an interrupted run is continued.
    size = batch_size or (1 if chosen.type == "cpu" else 16)
    cores = os.cpu_count() or 1
    hands = workers or (max(1, cores // 2) if chosen.type == "cpu" else cores)
    say(f"{len(files)} files on {describe(chosen)}")

    def score(images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return predict_images(ensemble, images, size, chosen).probabilities

    return score_files(files, preparation(run), score, min(hands, len(files)), size)


def _row(answer: Scored, plan: Plan, trained_on: Mapping[str, int]) -> Row:
    """The table's row for one answer; nulls where there is no result."""
    probabilities, classes = answer.probabilities, plan.run.classes
    warnings = list(answer.warnings)
    if answer.sha256 in trained_on:
        warnings.append(IN_TRAINING_DATA)
    ok = probabilities is not None
    values = [None] * len(classes) if probabilities is None else [float(p) for p in probabilities]
    return {
        "path": path_text(answer.path),
        "sha256": answer.sha256 or None,
        "status": "ok" if ok else "error",
        "error_code": answer.error_code or None,
        "error": answer.error or None,
        "warnings": warnings,
        "predicted": None if probabilities is None else classes[int(probabilities.argmax())],
        **{probability_column(name): value for name, value in zip(classes, values, strict=True)},
        "confidence": None if probabilities is None else float(probabilities.max()),
        "model_sha256": plan.model,
    }


def _write(rows: list[Row], plan: Plan, out: Path | None) -> None:
    """To --out, to a terminal as something readable, or to standard output as Parquet."""
    if out is None and sys.stdout is not None and sys.stdout.isatty():
        from magsd_cli.stages.screen import show_predictions

        show_predictions(rows, plan.run.classes)
        return
    table = pa.Table.from_pylist(rows, schema=table_schema(PREDICTION, plan.run.classes))
    metadata = {
        "classes": list(plan.run.classes),
        "model_sha256": plan.model,
        "model": plan.run.path.name,
        "recipe": plan.run.recipe.model_dump(mode="json"),
        "recipe_sha256": plan.run.recipe.hash(),
    }
    if out is not None:
        write_table(table, out, PREDICTION, metadata)
        return
    if sys.stdout is None:
        raise OutputError("standard output: is closed; use --out FILE")
    try:
        write_table(table, sys.stdout.buffer, PREDICTION, metadata)
    except OutputError:
        # Python would try to flush the broken pipe once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _conclude(rows: list[Row], files: list[Path]) -> int:
    """Say what came of it; the exit code."""
    failed = [row for row in rows if row["status"] == "error"]
    for row in failed[:5]:
        say(f"{row['path']}: {row['error_code']}: {row['error']}", level="warning")
    if len(failed) > 5:
        say(f"... and {len(failed) - 5} more files with an error", level="warning")
    seen = sum(IN_TRAINING_DATA in row["warnings"] for row in rows)
    if seen:
        say(
            f"{seen} of the files are the model's own training data; their rows are no test of it",
            level="warning",
        )
    say(f"predict: {len(files)} files, {len(rows) - len(failed)} ok, {len(failed)} with an error")
    if len(failed) == len(rows):
        raise NoInputError(f"{len(rows)} files: none is an image that can be used; see the column error")
    return 3 if failed else 0
