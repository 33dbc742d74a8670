"""`magsd verify`: is every file of a run or cache still what was written?"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.artifacts.cache import SUFFIX, samples_path
from magsd_cli.artifacts.files import hash_sidecar
from magsd_cli.artifacts.integrity import Verdict, check_files, files_in, missing_from
from magsd_cli.artifacts.runs import folds_path, metrics_path, open_run, recipe_path, run_file
from magsd_cli.console import say
from magsd_cli.errors import ArtifactError


def verify(path: Path) -> int:
    """Re-check every recorded hash of a run's folder, of another folder, or of one file; return 0.

    A cache's file is checked with the tables beside it. Each problem is one line on stderr; then
    `ArtifactError` is raised. Nothing is written.
    """
    if path.is_dir():
        verdict = check_files(files_in(path))
        problems = _run_problems(path, verdict)
    elif path.is_file() or hash_sidecar(path).exists():
        verdict = check_files(_with_companions(path))
        problems = list(verdict.problems)
        problems += [f"{file}: no hash was recorded for it" for file in verdict.unrecorded]
    else:
        raise ArtifactError(f"{path}: not found; name a run's folder, a cache or a table")
    for problem in problems:
        say(problem, level="error")
    for file in verdict.unrecorded if path.is_dir() else ():
        say(f"{file}: no hash is recorded for it; not checked")
    checked = len(verdict.whole) + len(verdict.problems)
    if problems:
        raise ArtifactError(f"{path}: {len(problems)} problems in {checked} files; take a copy that is whole")
    if checked == 0:
        raise ArtifactError(f"{path}: holds no artifact with a recorded hash; name a run's folder or a cache")
    say(f"{path}: {checked} files match their recorded hashes")
    return 0


def _run_problems(path: Path, verdict: Verdict) -> list[str]:
    """Problems of a folder: damaged files, and where it is a run, what it should have and has not."""
    problems = list(verdict.problems)
    parts = (run_file(path), recipe_path(path), folds_path(path), metrics_path(path))
    if not problems and any(part.exists() for part in parts):
        problems += missing_from(open_run(path))
    return problems


def _with_companions(path: Path) -> list[Path]:
    """A cache's tables have its name with another ending; the samples table must be there."""
    if path.suffix != SUFFIX:
        return [path]
    beside = [file for file in files_in(path.parent) if file.name.startswith(f"{path.stem}.")]
    return sorted({path, samples_path(path), *beside})
