"""`magsd predict`: one row for every input file, in input order."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.sealed.parts import (
    begin_anew,
    complete_replacement,
    drop_new_parts,
    is_finished,
    new_parts,
    read_parts,
    replace_parts,
    strangers,
)
from magsd_cli.artifacts.site_key import site_key
from magsd_cli.console import counted, detail, is_verbose, noted, progress, say
from magsd_cli.errors import NoInputError, UsageError
from magsd_cli.inference.decision import DecisionRules, in_metadata, rules_of
from magsd_cli.inference.engines import choose_engine, precision_of, score_with_onnx, score_with_torch
from magsd_cli.inference.inputs import Inputs, check_watched, each_input, read_list, warn_of_empty
from magsd_cli.inference.model import Model, open_model
from magsd_cli.inference.resume import Row
from magsd_cli.inference.scoring import FileAnswer
from magsd_cli.inference.studies.table import COLUMNS, STUDY, id_columns, with_studies, write_studies
from magsd_cli.inference.table.earlier import known_rows
from magsd_cli.inference.table.output import Form, TableFolder, is_csv, write_file, write_standard_output
from magsd_cli.inference.table.row import prediction_row
from magsd_cli.inference.table.store import Counts, RowStore
from magsd_cli.settings import Engine, Network

MOST_NAMED = 5  # files with an error
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
    parts: bool = False  #: `out` is a folder, which the table fills with parts of `PART_ROWS` rows
    other_outputs: Sequence[Path] = ()  #: more places that are written to, and so are never inputs

    def keeps_rows(self) -> bool:
        """Return whether rows that `out` has stay."""
        return self.resume or self.watch_once


@dataclass(frozen=True)
class Plan:
    """The files to score, the model, and the rows that are known already.

    `final`: the table; where it goes to standard output, a name in a temporary folder. `folder`: its parts,
    where it is a folder.
    """

    inputs: Inputs
    model: Model
    engine: str
    rules: DecisionRules
    about: dict[str, Any] = field(repr=False)
    final: Path
    store: RowStore = field(repr=False)
    folder: TableFolder | None = field(repr=False)

    def form(self, by_study: bool) -> Form:
        """The head of the table, and its further columns."""
        studies = by_study or STUDY in self.store.earlier.columns()
        return Form(self.model.metadata() | self.about, COLUMNS if studies else ())


@dataclass(frozen=True)
class Answered:
    """The result of a prediction: its exit code and, where that was asked for, each file's row, in order."""

    code: int
    model: Model
    rules: DecisionRules
    rows: dict[Path, Row] = field(repr=False)


def predict(options: PredictOptions) -> int:
    """Classify the files that the inputs mean and write the table, one row a file: the exit code."""
    return answer_files(options).code


def answer_files(
    options: PredictOptions,
    check: Callable[[Model], None] = lambda _model: None,
    keep_answers: bool = False,
) -> Answered:
    """Classify the files that the inputs mean and write the table, one row a file.

    check: asked before anything is scored; it raises where what is made of the rows does not fit the model.
    keep_answers: whether the rows are given back too; then memory grows with their number.

    An existing table is refused, unless `options` say that it is continued, replaced or added to; with
    `watch_once` that there is nothing new is no error. Rows are calibrated, decided and referred as is stored
    with the model. The exit code is 0, or 3 when a file has an error row. Raises `NoInputError` (after the
    table is written) when no file could be used, and the contract's other errors.
    """
    check_options(options)
    with claimed(options.out):
        _refuse_existing(options)
        with plan_of(options) as plan:
            check(plan.model)
            _score_missing(plan, options)
            _write(plan, options)
            if options.watch_once:
                warn_of_empty(options.inputs, plan.store)
            rows = dict(plan.store.answers()) if keep_answers else {}
            counts = plan.store.counts(options.watch_once, None if is_verbose() else MOST_NAMED)
            if plan.folder is not None:
                replace_parts(plan.final)
            plan.store.finish()
            code = _conclude(counts, options.watch_once, options.out)
            return Answered(code, plan.model, plan.rules, rows)


def _refuse_existing(options: PredictOptions) -> None:
    """Raise `UsageError` for a table that is there and is neither continued nor replaced."""
    out = options.out
    if out is None or options.keeps_rows() or options.overwrite:
        return
    # Parts without a last one are of a run that was interrupted: it goes on.
    if is_finished(read_parts(out)) if options.parts else out.exists():
        raise UsageError(f"{out}: exists already; add --resume to complete it or --overwrite to replace it")


@contextmanager
def plan_of(options: PredictOptions, writes: bool = True) -> Iterator[Plan]:
    """The files to score, the model and what is known already. Raises what `predict` raises.

    writes: False where nothing may be written or removed.
    """
    if options.watch_once:
        check_watched(options.inputs)
    listed: Iterable[Path] = () if options.files_from is None else read_list(options.files_from, options.null)
    own = [options.runs, options.out, *options.other_outputs]
    files = each_input(chain(options.inputs, listed), own)
    if options.watch_once:  # an empty folder that is named like an image is no file
        files = (path for path in files if path not in options.inputs or not path.is_dir())
    with noted("predict: listing the files"):
        inputs = Inputs(files)
    if inputs.total == 0 and not options.watch_once:
        named = [*options.inputs, *([] if options.files_from is None else [options.files_from])]
        raise NoInputError(f"{_names(named)}: no files there; name images or folders of images")
    model = open_model(options.model, options.runs, options.network)
    engine = choose_engine(model, options.engine, options.device, options.gpus)
    rules = rules_of(model, options.raw_probabilities)
    detail(f"predict: settings: {_settings_in_words(model, engine, rules)}")
    about = in_metadata(model, rules) | {"precision": precision_of(model, engine)}
    with ExitStack() as stack:
        final = options.out or Path(stack.enter_context(TemporaryDirectory(prefix="magsd-"))) / "table"
        known = known_rows(final, options.parts, options.keeps_rows(), options.overwrite, model.sha256, about)
        if writes and options.parts:
            if known.place == final:
                drop_new_parts(final)
            elif not known.rows.count:
                begin_anew(final)
        stack.callback(known.rows.close)
        store = RowStore(final, known.key, known.rows, options.watch_once, writes)
        stack.callback(store.close)
        folder = None
        if options.parts:
            folder = TableFolder(known.place, Form(model.metadata() | about), store, known.finished)
        yield Plan(inputs, model, engine, rules, about, final, store, folder)


def _settings_in_words(model: Model, engine: str, rules: DecisionRules) -> str:
    """Name the networks that answer, and how their answers are calibrated, decided and referred."""
    values: dict[str, Any] = {
        "model": model.name, "networks": len(model.folds), "engine": engine, "size": model.preprocessing.size,
        "clahe": model.preprocessing.clahe, "temperature": rules.temperature, "positive": rules.positive,
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
    if options.parts:
        _check_folder(options, out)
        return
    if out.is_dir():
        raise UsageError(
            f"{out}: is a folder; name a file, such as {out / 'predictions.parquet'}, or end its name in / "
            "for a folder of parts"
        )
    if is_csv(out) and options.keeps_rows():
        raise UsageError(
            f"{given[0]}: {out} is a CSV, which says too little of its rows; name a Parquet table, "
            "or use --overwrite"
        )
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise UsageError(
            f"--out {out}: tables are Parquet or CSV; name it {out.with_suffix('.parquet').name} or "
            f"{out.with_suffix('.csv').name}"
        )


def _check_folder(options: PredictOptions, out: Path) -> None:
    """Raise `UsageError` for a folder that cannot hold the parts of a table."""
    if options.by_study:
        raise UsageError(
            "--by study: needs the table in one file; name it with --out FILE, without a / behind"
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; omit the / behind its name, or name another folder")
    if others := strangers(out):
        raise UsageError(f"{out}: has other files in it, such as {others[0].name}; name a folder of its own")


@contextmanager
def claimed(out: Path | None) -> Iterator[None]:
    """The lock of the output, and an end to what dead writers left beside it."""
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(lock(out.with_name(f".{out.name}.lock")))
            sweep_orphans(out.parent)
            sweep_orphans(out)
            sweep_orphans(new_parts(out))
            complete_replacement(out)
        yield


def _names(inputs: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in inputs[:3]) + (", ..." if len(inputs) > 3 else "")


def _score_missing(plan: Plan, options: PredictOptions) -> None:
    """Score every input whose row is not known, in order, and keep the rows in the store."""
    store, total = plan.store, plan.inputs.total
    missing = (path for path in plan.inputs if not store.keep(path))
    files: Iterable[Path] = list(missing) if total is not None else _peeked(missing)
    count = len(files) if isinstance(files, list) else None
    if total is not None and count is not None:
        _say_kept(total - count, total)
    if files == []:
        return
    trained_on = plan.model.fold_of_content() or {}
    ids_of = _ids_of(options)
    answers = _score(plan, files, options)
    started, done = time.monotonic(), 0
    with ExitStack() as stack:
        stack.enter_context(closing(answers))  # whatever happens, the workers end first
        store.begin()
        bar = stack.enter_context(progress("predict", count))
        for some in answers:
            rows = (
                prediction_row(answer, plan.model, plan.rules, trained_on) | ids_of(answer) for answer in some
            )
            store.add(list(rows))
            if plan.folder is not None:
                plan.folder.advance()
            done += len(some)
            bar.update(len(some), f"{done / (time.monotonic() - started):.1f} images/s")
    if count is None:
        _say_kept(store.given - done, store.given)


def _say_kept(kept: int, files: int) -> None:
    if kept:
        words = f"{kept} of {counted(files, 'file')} scored already and unchanged"
        say(f"{words}; their rows are kept", kept=kept, files=files)


def _ids_of(options: PredictOptions) -> Callable[[FileAnswer], dict[str, str]]:
    """Return a function that gives what `--by study` adds to the row of an answer whose header was read."""
    key = _key_of(options)
    if not options.by_study:
        return lambda _answer: {}
    return lambda answer: {} if answer.identity is None else id_columns(answer.identity, key)


def _key_of(options: PredictOptions) -> Callable[[], bytes]:
    return lru_cache(partial(site_key, options.runs))


def _peeked(files: Iterator[Path]) -> Iterable[Path]:
    """Return `files`, or an empty list where there are none."""
    first = next(files, None)
    return [] if first is None else chain([first], files)


def _score(
    plan: Plan, files: Iterable[Path], options: PredictOptions
) -> Generator[list[FileAnswer], None, None]:
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


def _write(plan: Plan, options: PredictOptions) -> None:
    """The table to where it belongs, unless it would be what it is."""
    store, out, form = plan.store, options.out, plan.form(options.by_study)
    if out is None:
        write_standard_output(store.rows(), form, plan.final.parent)
    elif plan.folder is not None:
        plan.folder.finish()
    elif options.by_study:
        rows = list(store.rows())
        table = with_studies(rows, store.files(), _key_of(options))
        if table != rows or store.changed or not out.exists():
            write_file(table, out, form)
        write_studies(table, plan.rules, out)
    elif store.changed or not out.exists():
        write_file(store.rows(), out, form)


def _conclude(counts: Counts, watch_once: bool, out: Path | None) -> int:
    """Say how it ended; return the exit code."""
    for row in counts.failed:
        words = f"{row['path']}: {row['error_code']}: {row['error']}"
        say(words, level="warning", path=row["path"], error_code=row["error_code"])
    if more := counts.errors - len(counts.failed):
        say(f"... and {more} more; --verbose names them all", level="warning", more=more)
    if counts.trained:
        say(
            f"{counted(counts.trained, 'file')} of the model's own training data: their rows say nothing "
            "about how good it is",
            level="warning",
            training_files=counts.trained,
        )
    files = counted(counts.all, "new file" if watch_once else "file")
    ok = counts.all - counts.errors
    where = {} if out is None else {"out": out}
    words = f"predict: {files}, {ok} ok, {counts.errors} with an error"
    say(words, files=counts.all, ok=ok, errors=counts.errors, **where)
    if counts.errors and not ok and not watch_once:
        raise NoInputError(f"{files}: none is an image that can be used; see the column error")
    return 3 if counts.errors else 0
