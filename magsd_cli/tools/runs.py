"""`magsd runs list`, `show` and `compare`: what lies in the runs folder. Nothing is written."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magsd_cli.artifacts.files import check_hash, lock, read_json
from magsd_cli.artifacts.runs import (
    Run,
    find_cache,
    fold_path,
    lock_path,
    metrics_path,
    open_run,
    provenance_path,
    recipe_differences,
    run_file,
    state_path,
)
from magsd_cli.artifacts.suites import read_suite, suite_file
from magsd_cli.console import counted, in_bytes
from magsd_cli.errors import ArtifactError, LockedError, MagsdError, OutputError
from magsd_cli.recipe import load_recipe
from magsd_cli.render.document import interval_text

if TYPE_CHECKING:
    from magsd_cli.evaluation.cross_validation import RunMetrics

LOCALIZATIONS, COMPARISONS = "localize", "comparisons"
METRICS = ("accuracy", "sensitivity", "specificity", "f1", "auc")


@dataclass(frozen=True)
class RunSummary:
    """A line of `magsd runs list`.

    name: below the runs folder, as `runs show` and `runs rm` take it. kind: cv, train, suite, localize or
    comparison. result: the mean accuracy over the folds as a fraction, None where there is none; reason: why
    there is none. size: bytes on the disk; age: seconds since something was last written.
    """

    name: str
    kind: str
    recipe: str
    state: str
    accuracy: float | None
    reason: str
    size: int
    age: float


def list_runs(runs: Path) -> list[RunSummary]:
    """List what is under `runs`, the newest first. A damaged folder has a line that says so."""
    found = [summarise(path, runs) for path in run_folders(runs)]
    return sorted(found, key=lambda summary: (summary.age, summary.name))


def run_folders(runs: Path) -> Iterator[Path]:
    """The runs, suites, localizations and comparisons under `runs`."""
    for path in sorted(runs.iterdir()) if runs.is_dir() else ():
        if not path.name.startswith(".") and path.is_dir() and (kind_of(path) or fold_path(path, 0).is_dir()):
            yield path
    for inside in (LOCALIZATIONS, COMPARISONS):
        yield from (path for path in sorted((runs / inside).glob("*")) if kind_of(path))


def kind_of(path: Path) -> str | None:
    """Return the kind of a folder: run, suite, localize or comparison; None for any other."""
    if run_file(path).is_file():
        return "run"
    if suite_file(path).is_file():
        return "suite"
    if path.parent.name == LOCALIZATIONS and lock_path(path).exists():
        return "localize"
    if path.parent.name == COMPARISONS and (path / "report.md").is_file():
        return "comparison"
    return None


def find_run(name: Path, runs: Path) -> Path:
    """The folder called `name` under `runs`, or at that path. Raises `ArtifactError` where there is none."""
    for path in (runs / name, name):
        if path.is_dir() and kind_of(path):
            return path
    known = ", ".join(str(path.relative_to(runs)) for path in run_folders(runs)) or "none"
    raise ArtifactError(f"{name}: no run of that name under {runs}; there are: {known}")


def summarise(path: Path, runs: Path) -> RunSummary:
    """The line of one folder."""
    size, newest = disk_use(path)
    name = str(path.relative_to(runs)) if path.is_relative_to(runs) else str(path)
    kind, recipe, state, accuracy, reason = _about(path)
    if in_use(path):
        state = "in use"
    return RunSummary(name, kind, recipe, state, accuracy, reason, size, max(0.0, time.time() - newest))


def _about(path: Path) -> tuple[str, str, str, float | None, str]:
    """Kind, recipe, state, accuracy and reason of one folder."""
    kind = kind_of(path)
    try:
        if kind == "suite":
            rows, _ = read_suite(path)
            done = sum(row.run is not None and row.problem is None for row in rows)
            words = f"{len(rows)} recipes" if len(rows) != 1 else rows[0].recipe
            whole = done == len(rows)
            failed = "; ".join(f"{row.recipe}: {row.problem}" for row in rows if row.problem)
            return (
                kind,
                words,
                "complete" if whole else f"{done} of {counted(len(rows), 'row')}",
                None,
                failed,
            )
        if kind in ("localize", "comparison"):
            whole = kind == "comparison" or (path / "summary.json").is_file()
            return kind, "", "complete" if whole else "unfinished", None, ""
        if kind is None:
            return "?", "", "damaged", None, "run.json is missing"
        run = open_run(path)
        title = run.recipe.title or run.recipe.model.name
        if not run.complete:
            return run.kind, title, unfinished(run), None, f"continue: magsd {run.kind} --resume {path}"
        accuracy = _metrics(run)["mean"]["accuracy"]
    except (MagsdError, KeyError, TypeError) as error:
        return kind or "?", "", "damaged", None, str(error)
    return run.kind, title, "complete", accuracy, "" if accuracy is not None else "undefined in every fold"


def unfinished(run: Run) -> str:
    """Say how far an unfinished run is: "3 of 5 folds"."""
    done = sum(run.fold_is_done(fold) for fold in run.trained)
    return f"{done} of {counted(len(run.trained), 'fold')}"


def _metrics(run: Run) -> RunMetrics:
    check_hash(metrics_path(run.path))
    metrics: RunMetrics = read_json(metrics_path(run.path))
    return metrics


def disk_use(path: Path) -> tuple[int, float]:
    """The bytes that a folder's files take, and when one of them was last written (seconds since 1970)."""
    size, newest = 0, path.lstat().st_mtime
    for file in path.rglob("*"):
        try:
            facts = file.lstat()
        except OSError:  # gone since: the run is being written
            continue
        if not file.is_dir():
            size += facts.st_size
            newest = max(newest, facts.st_mtime if not file.name.endswith("lock") else 0)
    return size, newest


def in_use(path: Path) -> bool:
    """Return whether another process holds a lock of the folder: of the run, its report, or a fold."""
    for file in [lock_path(path), path / ".report.lock", *path.glob("fold*/.lock")]:
        if file.exists():
            try:
                with lock(file):
                    pass
            except LockedError:
                return True
            except OutputError:  # a folder that cannot be written: nobody else writes it from here
                continue
    return False


def list_lines(summaries: Sequence[RunSummary], runs: Path) -> list[str]:
    """`list_runs` as aligned text, with a line of headings and one of totals."""
    if not summaries:
        return [f"{runs}: no runs here; make one with `magsd cv`"]
    rows = [("name", "kind", "recipe", "state", "size", "age", "accuracy or reason")]
    for one in summaries:
        accuracy = f"{one.accuracy:.1%}" if one.accuracy is not None else (one.reason or "-")
        rows.append((one.name, one.kind, one.recipe, one.state, in_bytes(one.size), ago(one.age), accuracy))
    total = in_bytes(sum(one.size for one in summaries))
    return [*aligned(rows), f"{counted(len(summaries), 'entry')}, {total}"]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as lines whose columns stand under each other."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def ago(seconds: float) -> str:
    """An age in its largest whole unit: 45 s, 12 min, 3 h, 8 d."""
    for limit, unit, factor in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / factor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def show_run(path: Path, runs: Path) -> list[str]:
    """Describe a run in lines of text. Raises `ArtifactError` where it is damaged."""
    summary = summarise(path, runs)
    facts = [("name", summary.name), ("folder", str(path)), ("kind", summary.kind), ("state", summary.state)]
    if kind_of(path) == "suite":
        rows, command = read_suite(path)
        facts += [("command", shlex.join(command))]
        facts += [(row.recipe, row.problem or row.run or "not begun") for row in rows]
    elif kind_of(path) == "run":
        facts += _run_facts(open_run(path))
    facts += [("size", in_bytes(summary.size)), ("written", f"{ago(summary.age)} ago")]
    return aligned([(f"{name}:", value) for name, value in facts])


def _run_facts(run: Run) -> list[tuple[str, str]]:
    cache = find_cache(run)
    held = f", held out: {', '.join(run.held_out)}" if run.held_out else ""
    facts = [
        ("recipe", f"{run.recipe.title or run.recipe.model.name} ({run.recipe.hash()[:8]})"),
        ("changes to base", "; ".join(recipe_differences(load_recipe("base"), run.recipe)) or "none"),
        ("cache", f"{cache} ({run.cache_digest[:8]}){'' if cache.is_file() else ', not there'}"),
        ("classes", ", ".join(run.classes)),
        ("images", f"{len(run.folds())} of {run.preprocessing.size} px, patients {_known(run)}"),
        ("folds", f"{run.fold_count}, trained: {', '.join(map(str, run.trained))}{held}"),
    ]
    if run.complete:
        metrics = _metrics(run)
        for metric in METRICS:
            facts.append((metric, f"{mean_words(metrics, metric)}; pooled {pooled_words(metrics, metric)}"))
    kept = [fold for fold in run.trained if run.fold_is_done(fold) and state_path(run.path, fold).exists()]
    if kept:
        size = sum(state_path(run.path, fold).stat().st_size for fold in kept)
        words = ", ".join(map(str, kept))
        facts.append(("training state", f"of finished folds {words}, {in_bytes(size)}: magsd runs clean"))
    return [*facts, *_session_facts(run)]


def _known(run: Run) -> str:
    return "known" if run.patients_known else "unknown"


def _session_facts(run: Run) -> list[tuple[str, str]]:
    if not provenance_path(run.path).is_file():
        return []
    check_hash(provenance_path(run.path))
    sessions: list[dict[str, Any]] = read_json(provenance_path(run.path))["sessions"]
    return [
        (f"start {number}", f"{one['start']}, {', '.join(one['devices'])}: {shlex.join(one['command'])}")
        for number, one in enumerate(sessions, start=1)
    ]


def mean_words(metrics: RunMetrics, metric: str) -> str:
    """A metric's mean over the folds and its standard deviation in percent: 77.30 +- 3.27."""
    mean, deviation = metrics["mean"][metric], metrics["std"][metric]
    if mean is None:
        return "undefined"
    return f"{100 * mean:.2f}" + ("" if deviation is None else f" +- {100 * deviation:.2f}")


def pooled_words(metrics: RunMetrics, metric: str) -> str:
    """A metric of all out-of-fold images and its 95% interval in percent: 77.3 [74.1 to 80.5]."""
    value, bounds = metrics["pooled"][metric], metrics.get("pooled_intervals", {}).get(metric)
    if value is None:
        return "undefined"
    return f"{100 * value:.1f}" + ("" if bounds is None else f" {interval_text(bounds)}")


def compare_two(first: Path, second: Path) -> list[str]:
    """Two runs side by side: the keys that differ, their figures, and the paired difference where both were
    tested on the same images. Raises `ArtifactError` where one is damaged.
    """
    runs = open_run(first), open_run(second)
    names = [run.path.name for run in runs]
    lines = [f"A: {first}", f"B: {second}", "", "Recipe keys and data that differ"]
    lines += _differences(*runs) or ["none"]
    lines += ["", "Figures in percent: mean over the folds +- standard deviation; pooled [95% interval]"]
    if not all(run.complete for run in runs):
        rest = [
            f"{name}: {unfinished(run)}" for name, run in zip(names, runs, strict=True) if not run.complete
        ]
        return [*lines, f"not available: {'; '.join(rest)} are done"]
    metrics = [_metrics(run) for run in runs]
    rows: list[Sequence[str]] = [
        ("metric", "A mean", "B mean", "A pooled", "B pooled", "B - A [95% interval]")
    ]
    apart, why = _paired_differences(first, second)
    for metric in METRICS:
        means, pooled = ([words(one, metric) for one in metrics] for words in (mean_words, pooled_words))
        rows.append((metric, *means, *pooled, apart.get(metric, "-")))
    return [*lines, *aligned(rows), "", why]


def _differences(a: Run, b: Run) -> list[str]:
    found = recipe_differences(a.recipe, b.recipe)
    for name in ("kind", "fold_count", "classes", "held_out"):
        before, after = getattr(a, name), getattr(b, name)
        if before != after:
            found.append(f"{name} {before} -> {after}")
    if a.cache_digest != b.cache_digest:
        found.append(f"cache {a.cache_path.name} -> {b.cache_path.name}")
    elif not a.folds().equals(b.folds()):
        found.append("folds: other images, patients or folds")
    return found


def _paired_differences(first: Path, second: Path) -> tuple[dict[str, str], str]:
    """B minus A in percentage points for each metric, and a sentence on how that came about or why not."""
    import numpy as np

    from magsd_cli.evaluation.results import read_results
    from magsd_cli.metrics.intervals import DRAWS
    from magsd_cli.metrics.significance import COMPARED, difference, sample_rates

    a, b = (read_results(path).predictions for path in (first, second))
    if a is None or b is None:
        return {}, "No paired difference: predictions.parquet is missing."
    a, b = a.by_image(), b.by_image()
    if a.image_ids != b.image_ids or a.classes != b.classes:
        return {}, "No paired difference: the runs were not tested on the same images and classes."
    probabilities = (b.probabilities, a.probabilities)
    later, earlier = sample_rates(a.truth, probabilities, a.patients, np.random.default_rng(0))
    words = {}
    for metric in COMPARED:
        found = difference([later[metric]], [earlier[metric]])
        if found.value is not None:
            words[metric] = f"{100 * found.value:+.1f} {interval_text(found.interval, signed=True)}"
    return words, (
        f"B - A in percentage points, paired by image, by {DRAWS:,} bootstrap samples over patients; an "
        "interval without 0 speaks for a difference."
    )
