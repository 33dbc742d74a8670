"""A trained model as predict and localize need it: which one, whole or not, and what it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.files import check_hash
from magsd_cli.artifacts.model_file import ModelFile, model_file_path, open_model_file
from magsd_cli.artifacts.operating_point import OperatingPoint, read_operating_point
from magsd_cli.artifacts.runs import (
    REFIT,
    REFIT_FIGURES,
    Run,
    find_cache,
    find_newest_run,
    folds_path,
    model_sha256,
    open_run,
    recorded_sha256,
)
from magsd_cli.console import say
from magsd_cli.data.film import lung_network_of
from magsd_cli.errors import ArtifactError, MagsdError, UsageError
from magsd_cli.settings import Lungs, Network, Preprocessing


@dataclass(frozen=True)
class Model:
    """A run, its model file, or both: what the engines and the tables need to know of it.

    `folds` are the networks that answer; that of the refit is `REFIT`. `fold_networks_sha256`: of the refit
    network the hash of the fold networks, whose figures and operating point are its own; None of others.
    """

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
    fold_networks_sha256: str | None = None

    @property
    def network(self) -> Network:
        """The networks of its run that answer."""
        return Network.refit if self.folds == (REFIT,) else Network.folds

    def fold_of_content(self) -> dict[str, int] | None:
        """Content hash of each image of its run -> the fold whose network never saw it; None if unknown."""
        if self.model_file is not None:
            return self.model_file.trained_on
        return None if self.run is None else fold_of_content(self.run)

    def patient_of_content(self) -> dict[str, str]:
        """Content hash of each image of its run -> its patient; empty where the run's cache is not there."""
        return {} if self.run is None else patient_of_content(self.run)

    def metadata(self) -> dict[str, Any]:
        """Return the metadata about the model that a table carries."""
        refit = {"network": str(Network.refit), "fold_networks_sha256": self.fold_networks_sha256}
        return {
            **(refit if self.network == Network.refit else {}),
            "classes": list(self.classes),
            "model_sha256": self.sha256,
            "model": self.name,
            "recipe": self.recipe,
            "recipe_sha256": self.recipe_sha256,
        }


def open_model(model: Path | None, runs: Path, network: Network | None = None) -> Model:
    """The run or model file `model`, or the newest complete run under `runs`; stderr says which.

    `network`: which of a run's networks answer; None is those of the folds, and what a model file holds.
    Raises `ArtifactError` when there is none, or it is damaged or not complete, `UsageError` for a model file
    that holds others than `network`.
    """
    if model is not None and model.is_file():
        model_file = open_model_file(model)
        if network not in (None, model_file.network):
            raise UsageError(
                f"--network {network}: {model} holds {_count(model_file.network, len(model_file.networks))}; "
                "omit --network, or name the run with --model"
            )
        say(f"model: {model} ({_count(model_file.network, len(model_file.networks))})", model=model)
        _say_whose_figures(model_file.network)
        return _of_model_file(model_file, None)
    network = network or Network.folds
    run = open_trained(model, runs, network)
    if not model_file_path(run.path, network).is_file():
        return _of_run(run, network)
    model_file = open_model_file(model_file_path(run.path, network))
    calibrated = recorded_sha256(run)
    if (model_file.model_sha256, model_file.calibrated_sha256) != (recorded_sha256(run, network), calibrated):
        raise ArtifactError(
            f"{model_file.path}: is of other networks than the run's; "
            f"make it again with `{export_command(run, network)}`"
        )
    return _of_model_file(model_file, run)


def export_command(run: Run, network: Network) -> str:
    """The command that makes the run's model file of `network`."""
    return f"magsd export {run.path}" + (" --network refit" if network == Network.refit else "")


def open_trained(model: Path | None, runs: Path, network: Network = Network.folds) -> Run:
    """The run `model`, or the newest complete one under `runs`; one line on stderr says which.

    Raises `ArtifactError` when there is none, or it is not complete, or has no such `network`.
    """
    chosen = find_newest_run(runs) if model is None else model
    run = open_run(chosen)
    if not run.complete:
        command = f"magsd {run.kind} --resume {run.path}"
        raise ArtifactError(f"{run.path}: its training is not finished; finish it with `{command}`")
    if network == Network.refit and not run.fold_is_done(REFIT):
        again = "" if run.kind == "cv" else "; only `magsd cv` makes one"
        raise ArtifactError(
            f"{run.path}: has no refit network"
            + (again or f"; train one with `magsd cv --resume {run.path} --refit`, or omit --network")
        )
    newest = "; the newest run, choose another one with --model" if model is None else ""
    say(f"model: {run.path} ({_count(network, len(run.trained))}{newest})", model=run.path)
    _say_whose_figures(network)
    return run


def _say_whose_figures(network: Network) -> None:
    if network == Network.refit:
        say(f"the refit network was trained on all images; its figures are {REFIT_FIGURES}")


def _count(network: Network, networks: int) -> str:
    if network == Network.refit:
        return "its refit network"
    return "1 network" if networks == 1 else f"the mean of {networks} fold networks"


def _check_lungs(how: Preprocessing) -> None:
    """Raise `ArtifactError` where films are to be cut to their lungs and the network for it is not there."""
    if how.lungs != Lungs.none:
        lung_network_of(how)


def _of_run(run: Run, network: Network) -> Model:
    _check_lungs(run.preprocessing)
    calibrated = model_sha256(run)
    refit = network == Network.refit
    return Model(
        name=run.path.name,
        sha256=model_sha256(run, network),
        classes=run.classes,
        folds=run.answering(network),
        preprocessing=run.preprocessing,
        recipe=run.recipe.model_dump(mode="json"),
        recipe_sha256=run.recipe.hash(),
        run=run,
        model_file=None,
        operating=read_operating_point(run.path, calibrated),
        fold_networks_sha256=calibrated if refit else None,
    )


def _of_model_file(model_file: ModelFile, run: Run | None) -> Model:
    _check_lungs(model_file.preprocessing)
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
        (read_operating_point(run.path, model_file.calibrated_sha256) if run else None)
        or model_file.operating,
        model_file.fold_networks_sha256,
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
