"""A trained model as predict and localize need it: which one, whole or not, and what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.files import check_hash
from magsd_cli.artifacts.model_file import ModelFile, model_file_path, open_model_file
from magsd_cli.artifacts.operating_point import OperatingPoint, read_operating_point
from magsd_cli.artifacts.runs import (
    Run,
    find_cache,
    find_newest_run,
    folds_path,
    model_sha256,
    open_run,
    recorded_sha256,
)
from magsd_cli.console import say
from magsd_cli.errors import ArtifactError, MagsdError
from magsd_cli.settings import Preprocessing


@dataclass(frozen=True)
class Model:
    """A run, its model file, or both: what the engines and the tables need to know of it."""

    name: str
    sha256: str
    classes: tuple[str, ...]
    folds: tuple[int, ...]
    preprocessing: Preprocessing
    recipe: dict[str, Any] = field(repr=False)
    recipe_sha256: str
    run: Run | None
    model_file: ModelFile | None
    operating: OperatingPoint | None = field(repr=False, default=None)

    def fold_of_content(self) -> dict[str, int] | None:
        """Content hash of each image of its run -> the fold whose network never saw it; None if unknown."""
        if self.model_file is not None:
            return self.model_file.trained_on
        return None if self.run is None else fold_of_content(self.run)

    def patient_of_content(self) -> dict[str, str]:
        """Content hash of each image of its run -> its patient; empty where the run's cache is not there."""
        return {} if self.run is None else patient_of_content(self.run)

    def metadata(self) -> dict[str, Any]:
        """What a table says of the model that made it."""
        return {
            "classes": list(self.classes),
            "model_sha256": self.sha256,
            "model": self.name,
            "recipe": self.recipe,
            "recipe_sha256": self.recipe_sha256,
        }


def open_model(model: Path | None, runs: Path) -> Model:
    """The run or model file `model`, or the newest complete run under `runs`; stderr says which.

    Raises `ArtifactError` when there is none, or it is damaged or not complete.
    """
    if model is not None and model.is_file():
        model_file = open_model_file(model)
        say(f"model: {model} ({_count(len(model_file.networks))})")
        return _of_model_file(model_file, None)
    run = open_trained(model, runs)
    if not model_file_path(run.path).is_file():
        return _of_run(run)
    model_file = open_model_file(model_file_path(run.path))
    if model_file.model_sha256 != recorded_sha256(run):
        raise ArtifactError(
            f"{model_file.path}: is of other networks than the run's; "
            f"make it again with `magsd export {run.path}`"
        )
    return _of_model_file(model_file, run)


def open_trained(model: Path | None, runs: Path) -> Run:
    """The run `model`, or the newest complete one under `runs`; one line on stderr says which.

    Raises `ArtifactError` when there is none, or it is not complete.
    """
    chosen = find_newest_run(runs) if model is None else model
    run = open_run(chosen)
    if not run.complete:
        command = f"magsd {run.kind} --resume {run.path}"
        raise ArtifactError(f"{run.path}: its training is not finished; finish it with `{command}`")
    newest = "; the newest run, another one with --model" if model is None else ""
    say(f"model: {run.path} ({_count(len(run.trained))}{newest})")
    return run


def _count(networks: int) -> str:
    return "1 network" if networks == 1 else f"the mean of {networks} fold networks"


def _of_run(run: Run) -> Model:
    recipe = run.recipe.model_dump(mode="json")
    digest, recipe_digest = model_sha256(run), run.recipe.hash()
    name = run.path.name
    operating = read_operating_point(run.path, digest)
    return Model(
        name, digest, run.classes, run.trained, run.preprocessing, recipe, recipe_digest, run, None, operating
    )


def _of_model_file(model_file: ModelFile, run: Run | None) -> Model:
    return Model(
        model_file.name,
        model_file.model_sha256,
        model_file.classes,
        tuple(sorted(model_file.networks)),
        model_file.preprocessing,
        model_file.recipe,
        model_file.recipe_sha256,
        run,
        model_file,
        # A run's own file is newer than what was exported from it.
        (read_operating_point(run.path, model_file.model_sha256) if run else None) or model_file.operating,
    )


def fold_of_content(run: Run) -> dict[str, int] | None:
    """Content hash of each image of the run -> the fold in which it was tested (all others trained on it).

    None, with a line on stderr, where the run's cache is gone: then what it was trained on is unknown.
    """
    import pyarrow.parquet as pq

    from magsd_cli.artifacts.cache import samples_path

    samples_file = samples_path(find_cache(run))
    try:
        check_hash(samples_file)
        check_hash(folds_path(run.path))
        with samples_file.open("rb") as file:  # Arrow takes names in UTF-8 alone
            samples = pq.read_table(file, columns=["sha256", "index"])
        with folds_path(run.path).open("rb") as file:
            folds = pq.read_table(file, columns=["index", "fold"])
    except (MagsdError, OSError) as error:
        say(f"{error}; so images that the model was trained on cannot be recognised", level="warning")
        return None
    fold_of = dict(zip(folds["index"].to_pylist(), folds["fold"].to_pylist(), strict=True))
    content = zip(samples["sha256"].to_pylist(), samples["index"].to_pylist(), strict=True)
    return {sha256: fold_of[index] for sha256, index in content if index in fold_of}


def patient_of_content(run: Run) -> dict[str, str]:
    """Content hash of each image of the run's cache -> its patient; empty where that is unknown."""
    from magsd_cli.artifacts.cache import read_samples

    try:
        samples = read_samples(find_cache(run))
    except (MagsdError, OSError) as error:
        say(f"{error}; so each image counts as a patient of its own", level="warning")
        return {}
    pairs = zip(samples["sha256"], samples["patient_id"], strict=True)
    return {str(sha256): str(patient) for sha256, patient in pairs if sha256 and patient}
