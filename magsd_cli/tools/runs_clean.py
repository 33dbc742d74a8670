"""`magsd runs rm` and `magsd runs clean`: disk space back, and nothing that is in use or needed goes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from magsd_cli.artifacts.cache import SUFFIX, find_newest_cache
from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.runs import lock_path, open_run, remove_state, run_file, state_path
from magsd_cli.artifacts.suites import read_suite
from magsd_cli.console import say
from magsd_cli.errors import ArtifactError, LockedError, MagsdError, OutputError, UsageError
from magsd_cli.tools.runs import disk_use, find_run, in_use, run_folders

REMOVED = ".removed-"  # a folder that is being removed has this before its name: a kill leaves no half run


@dataclass(frozen=True)
class Removal:
    """Something to remove: `what` in words, the files or folders, and the bytes that this frees.

    run, fold: set where it is the training state of a finished fold.
    """

    what: str
    paths: tuple[Path, ...]
    size: int
    run: Path | None = None
    fold: int = 0


def runs_to_remove(names: Sequence[Path], runs: Path) -> list[Removal]:
    """List what `magsd runs rm` of `names` is going to remove; nothing is touched.

    Raises `ArtifactError` for what is not a run, `LockedError` for one in use, `UsageError` for a link.
    """
    found = []
    for name in dict.fromkeys(names):
        path = find_run(name, runs)
        if path.is_symlink():
            raise UsageError(f"{path}: is a link to {path.resolve()}; remove the link itself with rm")
        _refuse_in_use(path)
        suites = [suite.name for suite in _suites_with(path)]
        words = f" (the suite {', '.join(suites)} loses a row)" if suites else ""
        found.append(Removal(f"{path}{words}", (path,), disk_use(path)[0]))
    return found


def _refuse_in_use(path: Path) -> None:
    if in_use(path):
        raise LockedError(f"{path}: is in use by another magsd; wait for it, or stop it first")


def _suites_with(path: Path) -> Iterator[Path]:
    for file in sorted(path.parent.glob("*/suite.json")):
        with suppress(MagsdError):
            if any(row.run == path.name for row in read_suite(file.parent)[0]):
                yield file.parent


def remove_run(path: Path) -> None:
    """Remove a run's folder. Raises `LockedError` where it is in use, `OutputError` where it cannot be."""
    _refuse_in_use(path)
    aside = path.with_name(f"{REMOVED}{path.name}-{os.getpid()}")
    try:
        with lock(lock_path(path)):
            path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed ({error.strerror}); check the permissions") from error


def find_waste(runs: Path, caches: bool = True) -> list[Removal]:
    """Find what can go without a loss: training states of finished folds, what a kill left of `runs rm`, with
    `caches`, caches that no run under `runs` was made from (but for those that cv would take next).
    """
    found = [state for path in run_folders(runs) for state in _states(path)]
    for left in [*runs.glob(f"{REMOVED}*"), *runs.glob(f"*/{REMOVED}*")]:
        found.append(Removal(f"{left}: rest of a run that was being removed", (left,), disk_use(left)[0]))
    return [*found, *(_orphaned_caches(runs) if caches else ())]


def _states(path: Path) -> Iterator[Removal]:
    """The training states of the finished folds of the run in `path`; none of a run in use or damaged."""
    if not run_file(path).is_file():
        return
    if in_use(path):
        say(f"{path}: is in use; left alone", run=path)
        return
    try:
        run = open_run(path)
    except MagsdError as error:
        say(f"{error}; left alone", level="warning")
        return
    for fold in run.networks:
        state = state_path(path, fold)
        if run.fold_is_done(fold) and state.is_file():
            what = f"{state}: training state of a finished fold"
            yield Removal(what, (state,), state.stat().st_size, path, fold)


def _orphaned_caches(runs: Path) -> list[Removal]:
    folder = runs / "cache"
    caches = sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
    if not caches:
        return []
    try:
        used = {open_run(file.parent).cache_path.name for file in runs.glob("*/run.json")}
    except MagsdError as error:
        say(f"{error}; the cache it needs is not known, so all caches are kept", level="warning")
        return []
    for clahe in (None, True, False):
        with suppress(ArtifactError):
            used.add(find_newest_cache(runs, clahe)[0].name)
    found = []
    for cache in caches:
        if cache.name not in used:
            paths = (*sorted(folder.glob(f"{_literal(cache.stem)}.*")), *_work_of(cache))
            size = sum(disk_use(path)[0] if path.is_dir() else path.stat().st_size for path in paths)
            found.append(Removal(f"{cache}: no run under {runs} was made from it", paths, size))
    return found


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _work_of(cache: Path) -> Iterator[Path]:
    """The folders in which prepare noted that it made `cache`; without them it would look for it."""
    for note in cache.parent.glob(".work-*/done.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(note.read_bytes())["cache"] == cache.name:
                yield note.parent


def remove_waste(waste: Sequence[Removal]) -> int:
    """Remove what `find_waste` found; return the bytes that are free. What is in use by now is left alone.

    Raises `OutputError` where something cannot be removed.
    """
    freed = 0
    for removal in waste:
        if removal.run is not None:
            try:
                with lock(lock_path(removal.run)):
                    remove_state(removal.run, removal.fold)
            except LockedError:
                say(f"{removal.run}: is in use; left alone", run=removal.run)
                continue
        else:
            _remove(removal.paths)
        freed += removal.size
    return freed


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be removed ({error.strerror}); check the permissions"
            ) from error
