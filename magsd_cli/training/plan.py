"""The plan before the first batch: cache, recipe, folds, and the run's name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from magsd_cli.artifacts.cache import Cache, find_newest_cache, open_cache
from magsd_cli.artifacts.runs import Run, name_path, open_run, recipe_differences
from magsd_cli.console import say
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.evaluation.calibrate import UNCHANGED, CalibrationTargets
from magsd_cli.recipe import Recipe
from magsd_cli.settings import Group, Parallel
from magsd_cli.training.folds import folds_table, source_table

FOLDS = 5


@dataclass(frozen=True)
class RunOptions:
    """The options of `magsd train` and `magsd cv`: each field is the option of its name.

    cache: None is the newest under `runs`. recipe: None only with `resume`, whose run has its own. splits: a
    CSV of published folds, in place of `folds` drawn by the recipe's seed. repeats: more than 1 is a suite of
    as many runs, each with a seed of its own. cluster: the address of a Ray cluster that trains the folds, on
    `device`. targets: what the run is calibrated for at the end. refit: one more network is trained on
    all images; a run that has one keeps it. command: the command line, for the run's provenance.
    """

    runs: Path
    cache: Path | None = None
    recipe: Recipe | None = None
    name: str | None = None
    folds: int = FOLDS
    repeats: int = 1
    resume: Path | None = None
    splits: Path | None = None
    group: Group = Group.patient
    device: str = "auto"
    gpus: int | None = None
    parallel: Parallel = Parallel.folds
    cluster: str | None = None
    tensorboard: bool = False
    targets: CalibrationTargets = UNCHANGED
    refit: bool = False
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A run to make or to continue, its cache, and its folds table (index, image_id, ..., fold)."""

    run: Run
    cache: Cache
    folds: pd.DataFrame

    @property
    def threads(self) -> int:
        """The number of threads of each of its processes: that of the first start, for the same bits."""
        return self.run.threads


def plan(kind: str, options: RunOptions, threads: int) -> Plan:
    """The run of `kind` "train" or "cv" to make or to continue (nothing is written).

    Raises `UsageError` for options that do not go together, `ArtifactError` for a cache that is missing,
    damaged or does not fit the recipe, `NoInputError` when it has no two classes to tell apart.
    """
    if options.resume is not None:
        return _plan_again(kind, options.resume, options)
    recipe, cache = options.recipe, options.cache
    if recipe is None:
        raise UsageError("--recipe: none given; name a recipe, or a run with --resume")
    if cache is None:
        cache, why = find_newest_cache(options.runs, recipe.image.clahe)
        say(f"cache: {cache} ({why}; choose another one with --cache)", cache=cache)
    opened = open_cache(cache)
    check_fit(recipe, opened)
    table, held_out = _folds(options, opened, recipe.seed)
    folds = int(table["fold"].max()) + 1
    known = any(opened.patient_ids)
    path = name_path(options.runs, options.name or default_name(kind, recipe, opened, table))
    run = Run(
        path=path,
        kind=kind,
        recipe=recipe,
        classes=opened.classes,
        cache_path=opened.path.resolve(),
        cache_digest=opened.digest,
        preprocessing=opened.preprocessing,
        fold_count=folds,
        trained=tuple(range(folds)) if kind == "cv" else (0,),
        threads=threads,
        patients_known=known,
        held_out=held_out,
        refit=options.refit,
    )
    return Plan(run, opened, table)


def _folds(options: RunOptions, cache: Cache, seed: int) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The folds table, and the names of the sources that its folds hold out, where they do."""
    if options.group != Group.source:
        return folds_table(cache, options.folds, seed, options.splits), ()
    if options.splits is not None:
        raise UsageError(
            f"--splits {options.splits}: defines the folds, and so does --group source; omit one of them"
        )
    return source_table(cache)


def _plan_again(kind: str, resume: Path, options: RunOptions) -> Plan:
    run = open_run(resume)
    if run.kind != kind:
        raise UsageError(f"--resume {resume}: was made by `magsd {run.kind}`; continue it with that command")
    differences = [] if options.recipe is None else recipe_differences(run.recipe, options.recipe)
    if differences:
        raise ArtifactError(
            f"--resume {resume}: was started with another recipe ({'; '.join(differences)}); "
            "omit --recipe, --set and --seed to continue it as it is"
        )
    opened = open_cache(options.cache or run.cache_path)
    if opened.digest != run.cache_digest:
        raise ArtifactError(
            f"{opened.path}: is not the run's cache (digest {opened.digest[:8]}, not "
            f"{run.cache_digest[:8]}); give the run's own cache with --cache"
        )
    return Plan(replace(run, refit=run.refit or options.refit), opened, run.folds())


def open_plan(run: Path, cache: Path) -> Plan:
    """The plan of a run that is begun, as a process that trains some of it reads it from the disk."""
    opened = open_run(run)
    return Plan(opened, open_cache(cache), opened.folds())


def check_fit(recipe: Recipe, cache: Cache) -> None:
    """Raise `ArtifactError` when the recipe asks for other images than the cache can give."""
    image, made = recipe.image, cache.preprocessing
    if image.size > made.size:
        raise ArtifactError(
            f"{cache.path}: its images are {made.size} px, image.size={image.size} is larger; "
            f"use --set image.size={made.size}, or `magsd prepare --size {image.size}`"
        )
    if image.clahe != made.clahe:
        option = "--clahe" if image.clahe else "--no-clahe"
        raise ArtifactError(
            f"{cache.path}: was made with clahe={made.clahe}, image.clahe={image.clahe} is asked for; "
            f"make one with `magsd prepare {option}`"
        )
    if image.lungs not in (None, made.lungs.value):
        raise ArtifactError(
            f"{cache.path}: was made with lungs={made.lungs}, image.lungs={image.lungs} is asked for; "
            f"make one with `magsd prepare --lungs {image.lungs}`"
        )
    for key in ("clip_limit", "tiles") if made.clahe else ():
        asked, has = getattr(image, key), getattr(made, key)
        if asked is not None and asked != has:
            option = f"--{key.replace('_', '-')} {asked}"
            raise ArtifactError(
                f"{cache.path}: was made with {key}={has}, image.{key}={asked} is asked for; "
                f"make one with `magsd prepare {option}`"
            )


def default_name(kind: str, recipe: Recipe, cache: Cache, table: pd.DataFrame) -> str:
    """A name that the same command line finds again: kind, recipe, cache, and a hash with the folds."""
    words = re.sub(r"[^a-z0-9]+", "-", recipe.title.lower()).strip("-")[:24].strip("-") or "recipe"
    source = re.sub(r"[^A-Za-z0-9._-]+", "-", cache.path.stem)[:48]
    folds = table["fold"].to_numpy().tobytes()
    digest = hashlib.sha256(f"{recipe.hash()} {cache.digest} ".encode() + folds).hexdigest()
    return f"{kind}-{words}-{source}-{digest[:8]}"
