"""`magsd predict`: one row for every input file, in input order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from magsd_cli.artifacts.columns import table_from_rows
from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.site_key import site_key
from magsd_cli.artifacts.tables import (
    IN_TRAINING_DATA,
    PREDICTION,
    path_text,
    table_schema,
    write_csv,
    write_table,
)
from magsd_cli.console import counted, detail, noted, progress, say, say_each
from magsd_cli.errors import NoInputError, OutputError, UsageError
from magsd_cli.inference.decision import DecisionRules, decide, in_metadata, rules_of
from magsd_cli.inference.engines import choose_engine, precision_of, score_with_onnx, score_with_torch
from magsd_cli.inference.inputs import list_inputs, read_list
from magsd_cli.inference.model import Model, open_model
from magsd_cli.inference.resume import (
    KnownRows,
    Row,
    Stamp,
    append,
    merged,
    open_journal,
    read_known_rows,
    read_seen,
    remove_journal,
    stamps_of,
    unchanged,
    write_seen,
)
from magsd_cli.inference.scoring import FileAnswer
from magsd_cli.inference.show import show_predictions
from magsd_cli.inference.studies.table import COLUMNS, STUDY, with_studies, write_studies
from magsd_cli.settings import Engine, Network

TABLE_SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True)
class PredictOptions:
    """The options of predict: inputs, the model (None: the newest run under `runs`), and the table."""

    inputs: Sequence[Path]
    model: Path | None
    runs: Path
    out: Path | None = None  #: None: to standard output, as Parquet, or readable where that is a terminal
    resume: bool = False  #: all rows of `out` stay in order, changed files are scored again, new ones follow
    overwrite: bool = False  #: `out` is replaced
    watch_once: bool = False  #: `out` is added to: only content that it has not seen is scored
    engine: str = "auto"
    device: str = "auto"
    gpus: int | None = None  #: on a CPU: processes
    batch_size: int | None = None  #: None: 1 on a CPU, 16 on a GPU
    workers: int | None = None  #: processes; None: by the number of cores
    cluster: str | None = None  #: the address of a Ray cluster
    raw_probabilities: bool = False  #: the columns of probabilities stay as the networks say
    files_from: Path | None = None  #: a list that names further inputs; "-": standard input
    null: bool = False  #: the paths of the list end in NUL bytes
    network: Network | None = None  #: None: those of the folds, and what a model file holds
    by_study: bool = False  #: rows name their study and patient by keyed hashes; a table of studies beside
    other_outputs: Sequence[Path] = ()  #: more places that are written to, and so are never inputs

    def keeps_rows(self) -> bool:
        """Return whether rows that `out` has stay."""
        return self.resume or self.watch_once


@dataclass(frozen=True)
class Plan:
    """The files to score, the model, and the rows that are known already."""

    files: list[Path]
    model: Model
    engine: str
    known_rows: KnownRows = field(repr=False)
    rules: DecisionRules
    about: dict[str, Any] = field(repr=False)
    stamps: dict[Path, Stamp] = field(repr=False)


@dataclass(frozen=True)
class Answered:
    """The result of a prediction: its exit code, and the row of each file, in order."""

    code: int
    model: Model
    rules: DecisionRules
    files: list[Path]
    rows: list[Row] = field(repr=False)


def predict(options: PredictOptions) -> int:
    """Classify the files that the inputs mean and write the table, one row a file: the exit code."""
    return answer_files(options).code


def answer_files(options: PredictOptions, check: Callable[[Model], None] = lambda _model: None) -> Answered:
    """Classify the files that the inputs mean and write the table, one row a file.

    check: asked before anything is scored; it raises where what is made of the rows does not fit the model.

    An existing table is refused, unless `options` say that it is continued, replaced or added to; with
    `watch_once` that there is nothing new is no error. Rows are calibrated, decided and referred as is stored
    with the model. The exit code is 0, or 3 when a file has an error row. Raises `NoInputError` (after the
    table is written) when no file could be used, and the contract's other errors.
    """
    out, watch_once = options.out, options.watch_once
    check_options(options)
    with claimed(out):
        if out is not None and out.exists() and not (options.keeps_rows() or options.overwrite):
            raise UsageError(
                f"{out}: exists already; add --resume to complete it or --overwrite to replace it"
            )
        plan = plan_of(options)
        check(plan.model)
        rows, fresh = _all_rows(plan, options)
        table = merged(plan.known_rows, rows)
        if options.by_study:
            table = with_studies(table, plan.files, lru_cache(partial(site_key, options.runs)))
        if table != plan.known_rows.earlier or out is None or not out.exists():
            _write(table, plan, out)
        if out is not None:
            if options.by_study:
                write_studies(table, plan.rules, out)
            remove_journal(out)
            if watch_once:
                read = zip(plan.files, rows, strict=True)
                write_seen(out, plan.stamps, {path: row["sha256"] for path, row in read if row["sha256"]})
    scored = [row for row in rows if row["path"] in fresh] if watch_once else rows
    code = _conclude(scored, watch_once, out)
    return Answered(code, plan.model, plan.rules, plan.files, rows)


def plan_of(options: PredictOptions) -> Plan:
    """The files to score, the model and what is known already. Raises what `predict` raises."""
    if options.watch_once:
        _check_watched(options.inputs)
    listed = [] if options.files_from is None else read_list(options.files_from, options.null)
    with noted("predict: listing the files"):
        files = list_inputs([*options.inputs, *listed], [options.runs, options.out, *options.other_outputs])
    if options.watch_once:  # an empty folder that is named like an image is no file
        files = [path for path in files if path not in options.inputs or not path.is_dir()]
    if not files and not options.watch_once:
        named = [*options.inputs, *([] if options.files_from is None else [options.files_from])]
        raise NoInputError(f"{_names(named)}: no files there; name images or folders of images")
    model = open_model(options.model, options.runs, options.network)
    engine = choose_engine(model, options.engine, options.device, options.gpus)
    rules = rules_of(model, options.raw_probabilities)
    detail(f"predict: settings: {_settings_in_words(model, engine, rules)}")
    about = in_metadata(model, rules) | {"precision": precision_of(model, engine)}
    known_rows = read_known_rows(options.out, model.sha256, options.keeps_rows(), options.watch_once, about)
    if options.watch_once:
        _warn_of_empty(options.inputs, files, known_rows)
    stamps = stamps_of(files) if options.watch_once else {}
    return Plan(files, model, engine, known_rows, rules, about, stamps)


def _settings_in_words(model: Model, engine: str, rules: DecisionRules) -> str:
    """Name the networks that answer, and how their answers are calibrated, decided and referred."""
    values: dict[str, Any] = {
        "model": model.name, "networks": len(model.folds), "engine": engine, "size": model.preprocessing.size,
        "clahe": model.preprocessing.clahe, "temperature": rules.temperature,
        "positive class": rules.positive,
        "threshold": rules.threshold if rules.positive else None, "least confidence": rules.least_confidence,
        "limit of unlikeness": rules.limit,
    }  # fmt: skip
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def check_options(options: PredictOptions) -> None:
    """Raise `UsageError` for options that contradict each other or need another."""
    out = options.out
    if not options.inputs and options.files_from is None:
        raise UsageError("INPUT: name images or folders of images, or a list of them with --files-from FILE")
    if options.null and options.files_from is None:
        raise UsageError("-0: is for the list of --files-from")
    if options.by_study and out is None:
        raise UsageError("--by study: say which table with --out FILE; the table of studies stands beside it")
    words = {"--resume": options.resume, "--overwrite": options.overwrite, "--watch-once": options.watch_once}
    given = [word for word, chosen in words.items() if chosen]
    if options.overwrite and len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: --overwrite replaces the table, the other keeps its rows")
    if given and out is None:
        raise UsageError(f"{given[0]}: say which table with --out FILE")
    if out is None:
        return
    if out.is_dir() or str(out).endswith("/"):
        raise UsageError(f"{out}: is a folder; name a file, such as {out / 'predictions.parquet'}")
    if _is_csv(out) and options.keeps_rows():
        raise UsageError(
            f"{given[0]}: {out} is a CSV, which says too little of its rows; name a Parquet table, "
            "or use --overwrite"
        )
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            f"--out {out}: tables are Parquet or CSV; name it {out.with_suffix('.parquet').name} or "
            f"{out.with_suffix('.csv').name}"
        )


def _is_csv(out: Path) -> bool:
    return out.suffix.lower() == ".csv"


def _check_watched(inputs: Sequence[Path]) -> None:
    """Raise `NoInputError` for what is watched and not there: an unmounted share is no input, no row."""
    for path in inputs:
        try:
            if not path.exists():
                raise NoInputError(f"{path}: not there; is the share mounted?")
            if path.is_dir():
                os.scandir(path).close()
        except OSError as error:
            raise NoInputError(
                f"{path}: cannot be listed ({error.strerror}); is the share mounted and readable?"
            ) from error


def _warn_of_empty(inputs: Sequence[Path], files: Sequence[Path], known_rows: KnownRows) -> None:
    """Say that a watched folder is empty where the table knows files of it: a share may have come loose."""
    for folder in inputs:
        inside = f"{path_text(folder).rstrip('/')}/"
        if folder.is_dir() and not any(path_text(path).startswith(inside) for path in files):
            known = sum(str(row["path"]).startswith(inside) for row in known_rows.earlier)
            if known:
                say(
                    f"{folder}: is empty, and the table has {counted(known, 'row')} of files in it; is the "
                    "share mounted? The rows stay",
                    level="warning",
                    folder=folder,
                    rows=known,
                )


@contextmanager
def claimed(out: Path | None) -> Iterator[None]:
    """The lock of the output, and an end to what dead writers left beside it."""
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(lock(out.with_name(f".{out.name}.lock")))
            sweep_orphans(out.parent)
        yield


def _names(inputs: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in inputs[:3]) + (", ..." if len(inputs) > 3 else "")


def _all_rows(plan: Plan, options: PredictOptions) -> tuple[list[Row], set[str]]:
    """The row of every file, in order, and the paths of those that were scored now; the others were known."""
    out = options.out
    kept = unchanged(plan.known_rows, plan.files, read_seen(out, plan.stamps) if out is not None else {})
    if kept:
        words = f"{len(kept)} of {counted(len(plan.files), 'file')} scored already and unchanged"
        say(f"{words}; their rows are kept", kept=len(kept), files=len(plan.files))
    missing = [path for path in plan.files if path not in kept]
    rows = dict(kept)
    if missing:
        trained_on = plan.model.fold_of_content() or {}
        answers = _score(plan, missing, options)
        started = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(closing(answers))  # whatever happens, the workers end first
            keep = _keeper(out, plan, stack)
            bar = stack.enter_context(progress("predict", len(missing)))
            for some in answers:
                fresh = {
                    answer.path: prediction_row(answer, plan.model, plan.rules, trained_on) for answer in some
                }
                keep(fresh.values())
                rows |= fresh
                bar.update(len(some), f"{len(rows) / (time.monotonic() - started):.1f} images/s")
    return [rows[path] for path in plan.files], {path_text(path) for path in missing}


def _keeper(out: Path | None, plan: Plan, stack: ExitStack) -> Callable[[Iterable[Row]], None]:
    """Return a function that keeps finished rows through a kill: in the journal beside --out, or nowhere
    without it.
    """
    if out is None:
        return lambda _rows: None
    final = out
    journal: BinaryIO = stack.enter_context(
        open_journal(final, plan.known_rows.key, plan.known_rows.by_file.values())
    )
    return lambda rows: append(journal, final, rows)


def _score(plan: Plan, files: list[Path], options: PredictOptions) -> Generator[list[FileAnswer], None, None]:
    """Answers for `files`, in order."""
    if options.cluster is not None:
        from magsd_cli.inference.cluster import score_on_cluster

        return score_on_cluster(
            plan.model, plan.engine, files, options.cluster, options.device, options.batch_size
        )
    if plan.engine == Engine.onnxruntime:
        return score_with_onnx(plan.model, files, options.workers, options.gpus)
    return score_with_torch(
        plan.model, files, options.device, options.gpus, options.batch_size, options.workers
    )


def prediction_row(
    answer: FileAnswer, model: Model, rules: DecisionRules, trained_on: Mapping[str, int]
) -> Row:
    """The table's row for one answer; nulls where there is no result.

    trained_on: content hashes of the images that the model was trained on.
    """
    warnings = list(answer.warnings)
    if answer.sha256 in trained_on:
        warnings.append(IN_TRAINING_DATA)
    ok = answer.members is not None
    decided = {} if answer.members is None else decide(answer.members, answer.distance, rules)
    return {
        "path": path_text(answer.path),
        "sha256": answer.sha256 or None,
        "status": "ok" if ok else "error",
        "error_code": answer.error_code or None,
        "error": answer.error or None,
        "warnings": warnings,
        "model_sha256": model.sha256,
        **decided,
    }


def _write(rows: list[Row], plan: Plan, out: Path | None) -> None:
    """To --out, to a terminal as something readable, or to standard output as Parquet."""
    if out is None and sys.stdout is not None and sys.stdout.isatty():
        show_predictions(rows, plan.model.classes)
        return
    schema = table_schema(PREDICTION, plan.model.classes)
    if any(STUDY in row for row in rows):
        schema = pa.schema([*schema, *COLUMNS])
    table = table_from_rows(rows, schema)
    metadata = plan.model.metadata() | plan.about
    if out is not None:
        (write_csv if _is_csv(out) else write_table)(table, out, PREDICTION, metadata)
        return
    if sys.stdout is None:
        raise OutputError("standard output: is closed; use --out FILE")
    try:
        write_table(table, sys.stdout.buffer, PREDICTION, metadata)
    except OutputError:
        # Python would try to flush the broken pipe once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _conclude(rows: list[Row], watch_once: bool, out: Path | None) -> int:
    """Say how it ended; return the exit code."""
    failed = [row for row in rows if row["status"] == "error"]
    say_each([f"{row['path']}: {row['error_code']}: {row['error']}" for row in failed])
    seen = sum(IN_TRAINING_DATA in row["warnings"] for row in rows)
    if seen:
        say(
            f"{counted(seen, 'file')} of the model's own training data: their rows say nothing about how "
            "good it is",
            level="warning",
            training_files=seen,
        )
    files = counted(len(rows), "new file" if watch_once else "file")
    ok = len(rows) - len(failed)
    where = {} if out is None else {"out": out}
    words = f"predict: {files}, {ok} ok, {len(failed)} with an error"
    say(words, files=len(rows), ok=ok, errors=len(failed), **where)
    if failed and len(failed) == len(rows) and not watch_once:
        raise NoInputError(f"{files}: none is an image that can be used; see the column error")
    return 3 if failed else 0
