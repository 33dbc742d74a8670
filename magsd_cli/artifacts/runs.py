"""Run folders: what train and cv leave, and how others find and trust it.

``run.json`` (what the run is), ``recipe.json`` and ``folds.parquet`` are written once, before training, and
are what a later start must agree with; ``run.json`` is written again where `--refit` is asked for later. Each
fold has a folder; ``predictions.parquet`` and ``metrics.json`` come last. ``refit/`` has the network that is
trained on all images. Every file has its SHA-256 beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magsd_cli.artifacts.files import (
    check_hash,
    hash_sidecar,
    json_bytes,
    read_json,
    recorded_hashes,
    write_hashed,
)
from magsd_cli.artifacts.precision import PrecisionChoice
from magsd_cli.errors import ArtifactError, OutputError, UsageError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.settings import Lungs, Network, Preprocessing, preprocessing_from

if TYPE_CHECKING:  # Arrow and pydantic take longer to import than a worker takes for a film
    import pandas as pd

    from magsd_cli.recipe import Recipe


SCHEMA_VERSION = 2
WHOLE_SCHEMA = 1  # of a run on whole films: versions that know no lungs read it
AGAIN = "make the run again"
RESERVED_NAMES = ("cache", "comparisons", "demo", "localize")
REFIT = -1  # stands for the network that is trained on all images where folds have their numbers
REFIT_FIGURES = (
    "those of the cross-validation, temperature and operating point too: no image is left to test it on"
)


@dataclass(frozen=True)
class Run:
    """The description of a run. `trained` are the folds that have a network: all of a cv, one of a train.

    `preprocessing` is the cache's: what an image goes through before the network's own `recipe.image.size`.
    `refit`: whether one more network is trained on all images. `precision`: what was chosen where the recipe
    says "auto", None elsewhere.
    """

    path: Path
    kind: str  # "cv" or "train"
    recipe: Recipe = field(repr=False)
    classes: tuple[str, ...]
    cache_path: Path
    cache_digest: str
    preprocessing: Preprocessing
    fold_count: int
    trained: tuple[int, ...]
    threads: int
    patients_known: bool = True
    held_out: tuple[str, ...] = ()  # the source that each fold is, where folds are sources
    refit: bool = False
    precision: PrecisionChoice | None = None

    @property
    def training_recipe(self) -> Recipe:
        """The recipe that its networks are trained by: with the precision that "auto" came to."""
        if self.precision is None:
            return self.recipe
        train = self.recipe.train.model_copy(update={"precision": self.precision.chosen})
        return self.recipe.model_copy(update={"train": train})

    @property
    def networks(self) -> tuple[int, ...]:
        """All networks that it is to have: those of the folds, then `REFIT` where that is asked for."""
        return (*self.trained, REFIT) if self.refit else self.trained

    def answering(self, network: Network) -> tuple[int, ...]:
        """The numbers of the networks that `network` stands for."""
        return (REFIT,) if network == Network.refit else self.trained

    @property
    def complete(self) -> bool:
        """True when every fold is trained and the metrics are written."""
        return metrics_path(self.path).is_file() and predictions_path(self.path).is_file()

    def folds(self) -> pd.DataFrame:
        """The folds table: index (row of the cache), image_id, patient_id, label, fold."""
        from magsd_cli.artifacts.tables import read_parquet

        return read_parquet(folds_path(self.path), AGAIN)

    def fold_is_done(self, fold: int) -> bool:
        """Return whether the network of `fold` is trained and all of its files are written."""
        last = refit_path(self.path) if fold == REFIT else fold_predictions_path(self.path, fold)
        return last.is_file()


def run_file(run: Path) -> Path:
    """Return the path of ``run.json``: kind, classes, cache, folds."""
    return run / "run.json"


def recipe_path(run: Path) -> Path:
    """Return the path of the fully resolved recipe."""
    return run / "recipe.json"


def provenance_path(run: Path) -> Path:
    """Return the path of the provenance: versions, machine, command lines, times."""
    return run / "provenance.json"


def folds_path(run: Path) -> Path:
    """Return the path of the table of folds: which image is tested in which."""
    return run / "folds.parquet"


def predictions_path(run: Path) -> Path:
    """The out-of-fold predictions of the whole run."""
    return run / "predictions.parquet"


def metrics_path(run: Path) -> Path:
    """The metrics of the run: folds, mean, std, pooled."""
    return run / "metrics.json"


def lock_path(run: Path) -> Path:
    """The lock that a writer of the run holds."""
    return run / ".lock"


def network_name(fold: int) -> str:
    """Return the name that files of the network of `fold`, or of `REFIT`, have."""
    return "refit" if fold == REFIT else f"fold{fold}"


def network_words(fold: int) -> str:
    """Return the words for the network of `fold` in messages."""
    return "refit" if fold == REFIT else f"fold {fold}"


def run_lungs_path(run: Path) -> Path:
    """The network that cuts films to their lungs, where the run was made of films that are cut."""
    return run / "network.lungs"


def fold_path(run: Path, fold: int) -> Path:
    """The folder of one fold, or of `REFIT`."""
    return run / network_name(fold)


def refit_path(run: Path) -> Path:
    """Return the path of ``refit.json``, which is written last of the network trained on all images."""
    return fold_path(run, REFIT) / "refit.json"


def weights_path(run: Path, fold: int) -> Path:
    """The network of one fold."""
    return fold_path(run, fold) / "weights.safetensors"


def state_path(run: Path, fold: int) -> Path:
    """The state that the training of one fold resumes from. A finished fold keeps none unless asked to."""
    return fold_path(run, fold) / "state.pt"


def state_mark_path(run: Path, fold: int) -> Path:
    """The mark by which a finished fold says that its training state is to be removed."""
    return fold_path(run, fold) / ".state-not-kept"


def remove_state(run: Path, fold: int) -> None:
    """Remove the training state of a finished fold; its hash goes first, so that no hash is left without a
    file. Raises `OutputError`.
    """
    state, mark = state_path(run, fold), state_mark_path(run, fold)
    try:
        for path in (hash_sidecar(state), state, mark):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{state}: cannot be removed ({error.strerror}); check the permissions") from error


def history_path(run: Path, fold: int) -> Path:
    """The training curves of one fold."""
    return fold_path(run, fold) / "history.parquet"


def fold_predictions_path(run: Path, fold: int) -> Path:
    """The predictions of one fold's test images; written last."""
    return fold_path(run, fold) / "predictions.parquet"


def expected_files(run: Run) -> list[Path]:
    """The files that a run in this state must have: for each finished fold, and for a finished run."""
    files = [run_file(run.path), recipe_path(run.path), folds_path(run.path)]
    if run.preprocessing.lungs != Lungs.none:
        files.append(run_lungs_path(run.path))
    for fold in run.trained:
        if run.complete or run.fold_is_done(fold):
            files += [place(run.path, fold) for place in (weights_path, history_path, fold_predictions_path)]
    if run.fold_is_done(REFIT):
        files += [weights_path(run.path, REFIT), history_path(run.path, REFIT), refit_path(run.path)]
    if run.complete:
        files += [predictions_path(run.path), metrics_path(run.path), provenance_path(run.path)]
    return files


def name_path(runs: Path, name: str) -> Path:
    """Return the folder of the run called `name`. Raises `UsageError` for a name that is not a plain folder
    name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", name) or name in RESERVED_NAMES:
        raise UsageError(
            f"--name {name!r}: use letters, digits, '.', '_' and '-', and none of {', '.join(RESERVED_NAMES)}"
        )
    return runs / name


def create_run(run: Run, folds: pd.DataFrame) -> Run:
    """Write what `run` is and its folds table, or check them against what is there already.

    What is there stays as it is, but for `refit`, which may be asked for later.

    Raises `ArtifactError` that shows the difference when a run of that name was made from another recipe,
    cache or folds, or when the folder holds something else.
    """
    if run_file(run.path).exists():
        earlier = open_run(run.path)
        _check_same(earlier, run, folds)
        if run.refit and not earlier.refit:
            earlier = replace(earlier, refit=True)
            write_json_hashed(run_file(earlier.path), _to_values(earlier))
        return earlier
    strangers = [p.name for p in run.path.glob("*") if not p.name.startswith(".") and not _is_ours(p.name)]
    if strangers:
        raise ArtifactError(f"{run.path}: holds {strangers[0]} and is not a run; choose another --name")
    from magsd_cli.artifacts.tables import write_parquet

    if run.preprocessing.lungs != Lungs.none:
        run = _with_lung_network(run)
    write_json_hashed(recipe_path(run.path), json.loads(run.recipe.to_json()))
    write_parquet(folds_path(run.path), folds)
    write_json_hashed(run_file(run.path), _to_values(run))
    return run


def _is_ours(name: str) -> bool:
    return name.removesuffix(".sha256") in ("recipe.json", "folds.parquet", "run.json", "network.lungs")


def _with_lung_network(run: Run) -> Run:
    """The run with a copy of its own of the network that cut the cache's films.

    Raises `ArtifactError` where the cache's is missing or damaged.
    """
    source, own = run.preprocessing.lung_file, run_lungs_path(run.path)
    if source is None or check_hash(source) != run.preprocessing.lung_network:
        raise ArtifactError(f"{source}: is not the network that cut the cache's films; prepare again")
    write_hashed(own, source.read_bytes())
    return replace(run, preprocessing=replace(run.preprocessing, lung_file=own))


def _to_values(run: Run) -> dict[str, Any]:
    return {
        "schema_version": WHOLE_SCHEMA if run.preprocessing.lungs == Lungs.none else SCHEMA_VERSION,
        "kind": run.kind,
        "classes": list(run.classes),
        "cache": {
            "path": str(run.cache_path),
            "digest": run.cache_digest,
            **run.preprocessing.values(),
        },
        "folds": run.fold_count,
        "trained": list(run.trained),
        "threads": run.threads,
        "patients_known": run.patients_known,
        **({"held_out": list(run.held_out)} if run.held_out else {}),
        **({"refit": {"folder": network_name(REFIT), "figures": REFIT_FIGURES}} if run.refit else {}),
        **({"precision": asdict(run.precision)} if run.precision else {}),
    }


def open_run(path: Path) -> Run:
    """Read what the run in folder `path` is; its recipe and run file are checked against their hashes.

    Raises `ArtifactError` when it is not a run, is damaged, or has a schema that this version does not know.
    """
    from magsd_cli.recipe import recipe_from_values

    if not path.exists():
        raise ArtifactError(f"{path}: not found; name a folder that cv or train made, see `magsd runs list`")
    if not run_file(path).is_file():
        raise ArtifactError(f"{path}: is not a run (it has no run.json); name a folder that cv or train made")
    check_hash(run_file(path))
    check_hash(recipe_path(path))
    values = read_json(run_file(path))
    if int(values.get("schema_version", 0)) > SCHEMA_VERSION:
        raise ArtifactError(f"{path}: was made by a newer magsd; install that version")
    try:
        recipe = recipe_from_values(read_json(recipe_path(path)), str(recipe_path(path)))
        cache = values["cache"]
        return Run(
            path=path,
            kind=values["kind"],
            recipe=recipe,
            classes=tuple(values["classes"]),
            cache_path=Path(cache["path"]),
            cache_digest=cache["digest"],
            preprocessing=preprocessing_from(cache, run_lungs_path(path)),
            fold_count=values["folds"],
            trained=tuple(values["trained"]),
            threads=values["threads"],
            patients_known=values["patients_known"],
            held_out=tuple(values.get("held_out", ())),
            refit="refit" in values,
            precision=PrecisionChoice(**values["precision"]) if "precision" in values else None,
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise ArtifactError(f"{path}: run.json or recipe.json does not fit this version ({error})") from error


def find_newest_run(runs: Path) -> Path:
    """The complete run under `runs` that was finished last. Raises `ArtifactError` when there is none."""
    finished = [p.parent for p in runs.glob("*/metrics.json") if run_file(p.parent).is_file()]
    finished = [path for path in finished if predictions_path(path).is_file()]
    if not finished:
        raise ArtifactError(
            f"{runs}: no finished run here; make one with `magsd cv`, or name it with --model"
        )
    return max(finished, key=lambda path: (metrics_path(path).stat().st_mtime_ns, path.name))


def _check_same(earlier: Run, now: Run, folds: pd.DataFrame) -> None:
    differences = recipe_differences(earlier.recipe, now.recipe)
    for name in ("kind", "cache_digest", "fold_count", "classes", "held_out"):
        before, after = getattr(earlier, name), getattr(now, name)
        if before != after:
            differences.append(f"{name} {before} -> {after}")
    if not differences and not earlier.folds().equals(folds):
        differences.append("folds.parquet: other images, patients or folds")
    if differences:
        raise ArtifactError(
            f"{now.path}: was started with other settings ({'; '.join(differences)}); "
            "use those settings, or choose another --name"
        )


def recipe_differences(before: Recipe, after: Recipe) -> list[str]:
    """Every key that changes a result and differs, as `key old -> new`."""
    from magsd_cli.recipe import resolved_keys

    if before.hash() == after.hash():
        return []
    old, new = dict(resolved_keys(before)), dict(resolved_keys(after))
    return [
        f"{key} {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in sorted({*old, *new} - {"title"})
        if old.get(key) != new.get(key)
    ]


def write_json_hashed(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write `value` as JSON with its hash beside it."""
    write_hashed(path, json_bytes(value))


def model_sha256(run: Run, network: Network = Network.folds) -> str:
    """The model's hash: of its networks' weights, in the order of the folds. Each is checked.

    Raises `ArtifactError` when one is missing or damaged.
    """
    return _of_networks(check_hash(weights_path(run.path, fold)) for fold in run.answering(network))


def recorded_sha256(run: Run, network: Network = Network.folds) -> str | None:
    """Return the model's hash from the recorded hashes alone, without reading weights; None where one is not
    recorded.
    """
    recorded = [recorded_hashes(weights_path(run.path, fold)) for fold in run.answering(network)]
    return _of_networks(hashes[0] for hashes in recorded) if all(recorded) else None


def _of_networks(hashes: Iterable[str]) -> str:
    return sha256_bytes("".join(hashes).encode())


def find_cache(run: Run) -> Path:
    """The run's cache where it was, or beside the run where both were moved together."""
    beside = run.path.parent / "cache" / run.cache_path.name
    return beside if beside.is_file() and not run.cache_path.is_file() else run.cache_path
