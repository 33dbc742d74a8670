"""A trained run as predict and localize need it: which one, whole or not, and what it was trained on."""

from __future__ import annotations

from pathlib import Path

from magsd_cli.artifacts.cache import samples_path
from magsd_cli.artifacts.files import check_hash, sha256_bytes
from magsd_cli.artifacts.runs import Run, find_newest_run, folds_path, open_run, weights_path
from magsd_cli.console import say
from magsd_cli.errors import ArtifactError, MagsdError
from magsd_cli.inference.scoring import Preparation


def open_trained(model: Path | None, runs: Path) -> Run:
    """The run `model`, or the newest complete one under `runs`; one line on stderr says which.

    Raises `ArtifactError` when there is none, or it is not complete.
    """
    chosen = find_newest_run(runs) if model is None else model
    run = open_run(chosen)
    if not run.complete:
        command = f"magsd {run.kind} --resume {run.path}"
        raise ArtifactError(f"{run.path}: its training is not finished; finish it with `{command}`")
    count = len(run.trained)
    networks = "1 network" if count == 1 else f"the mean of {count} fold networks"
    newest = "; the newest run, another one with --model" if model is None else ""
    say(f"model: {run.path} ({networks}{newest})")
    return run


def model_sha256(run: Run) -> str:
    """The model's hash: of its networks' weights, in the order of the folds. Each is checked.

    Raises `ArtifactError` when one is missing or damaged.
    """
    return sha256_bytes("".join(check_hash(weights_path(run.path, fold)) for fold in run.trained).encode())


def preparation(run: Run) -> Preparation:
    """What a picture goes through before the networks of `run`."""
    return Preparation(run.size, run.clahe, run.clip_limit, run.tiles)


def fold_of_content(run: Run) -> dict[str, int] | None:
    """Content hash of each image of the run -> the fold in which it was tested (all others trained on it).

    None, with a line on stderr, where the run's cache is gone: then what it was trained on is unknown.
    """
    import pyarrow.parquet as pq

    cache = _find_cache(run)
    try:
        check_hash(samples_path(cache))
        check_hash(folds_path(run.path))
        samples = pq.read_table(samples_path(cache), columns=["sha256", "index"])
        folds = pq.read_table(folds_path(run.path), columns=["index", "fold"])
    except (MagsdError, OSError) as error:
        say(f"{error}; so images that the model was trained on cannot be recognised", level="warning")
        return None
    fold_of = dict(zip(folds["index"].to_pylist(), folds["fold"].to_pylist(), strict=True))
    content = zip(samples["sha256"].to_pylist(), samples["index"].to_pylist(), strict=True)
    return {sha256: fold_of[index] for sha256, index in content if index in fold_of}


def _find_cache(run: Run) -> Path:
    """The run's cache where it was, or beside the run where both were moved together."""
    beside = run.path.parent / "cache" / run.cache_path.name
    return beside if beside.is_file() and not run.cache_path.is_file() else run.cache_path
