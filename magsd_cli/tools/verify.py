"""`magsd verify`: is every file of a run or cache still what was written?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from magsd_cli.artifacts.cache import SUFFIX, samples_path
from magsd_cli.artifacts.files import check_hash, hash_sidecar
from magsd_cli.artifacts.runs import (
    Run,
    expected_files,
    folds_path,
    metrics_path,
    open_run,
    recipe_path,
    run_file,
)
from magsd_cli.artifacts.sealed.parts import part_files, problems_of_parts
from magsd_cli.artifacts.tables import LOCALIZATION, OUT_OF_FOLD, PREDICTION, read_table
from magsd_cli.console import counted, noted, say
from magsd_cli.errors import ArtifactError

SIDECAR = ".sha256"


def verify(path: Path) -> int:
    """Re-check every recorded hash of a run's folder, of another folder, or of one file; return 0.

    A cache's file is checked with the tables beside it. Each problem is one line on stderr; then
    `ArtifactError` is raised. Nothing is written.
    """
    if path.is_dir():
        with noted(f"verify: reading {path}"):
            verdict = check_files(files_in(path))
        problems = _run_problems(path, verdict)
    elif path.is_file() or hash_sidecar(path).exists():
        with noted(f"verify: reading {path}"):
            verdict = check_files(_with_companions(path))
        problems = list(verdict.problems)
        problems += [f"{file}: no hash was recorded for it" for file in verdict.unrecorded]
    else:
        raise ArtifactError(f"{path}: not found; name a run's folder, a cache or a table")
    for problem in problems:
        say(problem, level="error")
    for file in verdict.unrecorded if path.is_dir() else ():
        say(f"{file}: not checked, no hash was recorded for it")
    checked = len(verdict.whole) + len(verdict.problems)
    if problems:
        raise ArtifactError(
            f"{path}: {counted(len(problems), 'problem')} in {counted(checked, 'file')}; restore an intact "
            "copy"
        )
    if checked == 0:
        raise ArtifactError(f"{path}: no file here has a recorded hash; name a run's folder or a cache")
    say(
        f"{path}: {counted(checked, 'file')} checked, all match their recorded hashes",
        path=path,
        files=checked,
    )
    return 0


def _run_problems(path: Path, verdict: Verdict) -> list[str]:
    """Problems of a folder: damaged files, and where it is a run, what it should have and has not."""
    problems = list(verdict.problems)
    parts = (run_file(path), recipe_path(path), folds_path(path), metrics_path(path))
    if not problems and any(part.exists() for part in parts):
        problems += missing_from(open_run(path))
    for folder in sorted({file.parent for file in verdict.whole if part_files(file.parent)}):
        if not folder.name.startswith("."):  # parts that will replace others need not be all there
            problems += problems_of_parts(folder)
    return problems


def _with_companions(path: Path) -> list[Path]:
    """A cache's tables have its name with another ending; the samples table must be there."""
    if path.suffix != SUFFIX:
        return [path]
    beside = [file for file in files_in(path.parent) if file.name.startswith(f"{path.stem}.")]
    return sorted({path, samples_path(path), *beside})


@dataclass(frozen=True)
class Verdict:
    """The result of a check: files that are whole, problems (a line each), and files that have no hash."""

    whole: tuple[Path, ...]
    problems: tuple[str, ...]
    unrecorded: tuple[Path, ...]


def check_files(paths: Iterable[Path]) -> Verdict:
    """Check each file against its recorded hash, or against the seal inside it where it is a sealed table.

    A sidecar is checked for its own form too, so that a changed bit in it does not go unnoticed. Nothing is
    written or removed.
    """
    whole, problems, unrecorded = [], [], []
    for path in paths:
        check = _check_for(path)
        if check is None:
            unrecorded.append(path)
            continue
        try:
            check(path)
            whole.append(path)
        except ArtifactError as error:
            problems.append(str(error))
    return Verdict(tuple(whole), tuple(problems), tuple(unrecorded))


def files_in(folder: Path) -> list[Path]:
    """All artifacts in a folder and below, without sidecars, locks and unfinished temporary files.

    A file whose sidecar is there but which is gone itself is among them: that is a problem to be found.
    """
    present = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    recorded = {path.with_name(path.name.removesuffix(SIDECAR)) for path in present if path.suffix == SIDECAR}
    return sorted(recorded | {path for path in present if path.suffix != SIDECAR})


def missing_from(run: Run) -> list[str]:
    """The files, or their recorded hashes, that a run of this state must have and has not: a line each."""
    missing = [path for path in expected_files(run) if not path.is_file() or not hash_sidecar(path).is_file()]
    return [f"{path}: the file or its {SIDECAR} is missing; make the run again" for path in missing]


def _check_for(path: Path) -> Callable[[Path], object] | None:
    if hash_sidecar(path).exists():
        return _check_recorded
    return _check_sealed if path.suffix == ".parquet" else None


def _check_recorded(path: Path) -> None:
    check_hash(path)
    line = re.compile(rf"[0-9a-f]{{64}}  {re.escape(path.name)}\n")
    text = hash_sidecar(path).read_text(encoding="utf-8")
    if not re.fullmatch(f"({line.pattern}){{1,2}}", text):
        raise ArtifactError(f"{hash_sidecar(path)}: damaged; make the artifact again")


def _check_sealed(path: Path) -> None:
    """A table without a sidecar has its hash inside; which kind of table it is does not matter here."""
    reasons = []
    for kind in (PREDICTION, OUT_OF_FOLD, LOCALIZATION):
        try:
            read_table(path, kind)
        except ArtifactError as error:
            reasons.append(error)
        else:
            return
    raise reasons[-1]
