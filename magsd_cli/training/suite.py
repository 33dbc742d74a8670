"""`magsd cv` with several recipes or `--repeats`: a suite, such as a table of the paper, row after row."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.runs import lock_path, name_path
from magsd_cli.artifacts.suites import SuiteRow, expand, read_suite, suite_file, write_suite
from magsd_cli.console import counted, say
from magsd_cli.errors import ArtifactError, Interrupted, LockedError, MagsdError, UsageError
from magsd_cli.recipe import Recipe, load_recipe, recipe_names
from magsd_cli.settings import Group
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv


def suite(names: Sequence[str], overrides: Sequence[str], options: RunOptions) -> tuple[Path, int]:
    """Cross-validate every recipe of `names`, with `overrides`, as `cv` with `options` does: a row each.

    With `options.repeats` above 1 each recipe has that many rows: ordinary runs with the seeds s, s + 1, ...
    (s: the recipe's own), and with them new folds, first all recipes with s, then all with s + 1. Rows whose
    recipes differ in nothing that changes a result share one run. A finished run is not made
    again; a row that cannot be run is reported, and the others go on. Returns the suite's folder and the exit
    code: 0, or that of the first row that failed. Raises `UsageError` for a bad recipe, before any row is
    begun, `LockedError` when another process makes the suite, `Interrupted` on a signal (what is done is
    kept: the same command goes on; with more repeats, the same suite grows).
    """
    loaded = {recipe: _load(recipe, overrides) for recipe in expand(names)}
    folder = name_path(options.runs, options.name or _default_name(names, loaded, options))
    recipes = {
        _row(recipe, ours, repeat if options.repeats > 1 else None): reseeded(ours, repeat)
        for repeat in range(options.repeats)
        for recipe, ours in loaded.items()
    }
    rows = list(recipes)
    if options.repeats > 1 and (options.splits is not None or options.group == Group.source):
        say("suite: the folds are fixed, so all repeats share them and differ in their seed")
    if folder.exists() and not suite_file(folder).exists():
        raise ArtifactError(f"{folder}: exists already and is not a suite; choose another --name")
    with lock(lock_path(folder)):
        rows = _with_earlier_rows(folder, rows)
        write_suite(folder, rows, options.command)
        code = 0
        for digest in dict.fromkeys(recipe.hash() for recipe in recipes.values()):
            same = {row.place: recipe for row, recipe in recipes.items() if recipe.hash() == digest}
            alike = [number for number, row in enumerate(rows) if row.place in same]
            words = "; ".join(rows[number].words for number in alike)
            say(
                f"suite: {words} ({alike[0] + 1} of {counted(len(rows), 'row')})",
                row=alike[0] + 1,
                rows=len(rows),
            )
            run, problem, row_code = _one(replace(options, recipe=same[rows[alike[0]].place], name=None))
            code = code or row_code
            for number in alike:
                rows[number] = replace(rows[number], run=run or rows[number].run, problem=problem)
            write_suite(folder, rows, options.command)
    _say_the_end(folder, rows)
    return folder, code


def _one(options: RunOptions) -> tuple[str | None, str | None, int]:
    """Make one row's run: its folder's name, or the problem and its exit code."""
    try:
        return cv(options).name, None, 0
    except (Interrupted, LockedError):
        raise
    except MagsdError as error:
        say(f"suite: {error}", level="warning")
        return None, str(error), error.exit_code


def _load(name: str, overrides: Sequence[str]) -> Recipe:
    try:
        return load_recipe(name, overrides)
    except UsageError as error:
        folders = sorted({known.split("/")[0] for known in recipe_names() if "/" in known})
        near = difflib.get_close_matches(name, folders, n=1, cutoff=0.6)
        raise UsageError(f"{error} (or the folder {near[0]})" if near else str(error)) from None


def reseeded(recipe: Recipe, repeat: int) -> Recipe:
    """The recipe of repeat 0, 1, ...: its seed plus that number, and nothing else is another.

    Raises `UsageError` where there is no such seed.
    """
    if recipe.seed + repeat >= 2**63:
        raise UsageError(f"seed={recipe.seed}: leaves no seeds for --repeats; choose a smaller one")
    return recipe.model_copy(update={"seed": recipe.seed + repeat})


def _row(name: str, recipe: Recipe, repeat: int | None) -> SuiteRow:
    paper = recipe.paper
    return SuiteRow(
        recipe=name,
        title=recipe.title or name,
        table=paper.table if paper else None,
        row=paper.row if paper else None,
        repeat=repeat,
    )


def _with_earlier_rows(folder: Path, rows: list[SuiteRow]) -> list[SuiteRow]:
    """`rows` with the runs that an earlier start of this suite noted, and behind them its further repeats."""
    if not suite_file(folder).exists():
        return rows
    earlier = {row.place: row for row in read_suite(folder)[0]}
    names = {row.recipe for row in earlier.values()}
    if names != {row.recipe for row in rows}:
        raise ArtifactError(
            f"{folder}: is a suite of other recipes ({', '.join(sorted(names))}); choose another --name"
        )
    if len(earlier) > len(rows):  # a suite with repeats keeps them, whatever is asked for now
        rows = [replace(row, repeat=row.repeat or 0) for row in rows]
    further = {place: row for place, row in earlier.items() if place not in {row.place for row in rows}}
    known = [replace(row, run=earlier[row.place].run if row.place in earlier else None) for row in rows]
    return [*known, *further.values()]


def _default_name(names: Sequence[str], recipes: dict[str, Recipe], options: RunOptions) -> str:
    """A name that the same command line finds again."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(Path(name).stem for name in names))[:40].strip("-")
    about = [f"{name} {recipe.hash()}" for name, recipe in recipes.items()]
    about += [str(options.folds), str(options.cache), str(options.splits)]
    about += [options.group] if options.group == Group.source else []
    about += ["repeats"] if options.repeats > 1 else []  # not how many: with more of them the suite grows
    return f"suite-{words}-{hashlib.sha256(os.fsencode('|'.join(about))).hexdigest()[:8]}"


def _say_the_end(folder: Path, rows: Sequence[SuiteRow]) -> None:
    failed = [row.words for row in rows if row.problem]
    done = sum(row.run is not None and not row.problem for row in rows)
    say(f"{folder}: {done} of {counted(len(rows), 'row')} done", suite=folder, done=done, rows=len(rows))
    if failed:
        say(f"{folder}: not done: {'; '.join(failed)}; see the reasons above", level="warning")
