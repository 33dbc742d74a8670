"""`magsd train`, `magsd cv` and `magsd calibrate`: they share options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magsd_cli.commands.options import (
    CacheOption,
    ClusterOption,
    CoverageOption,
    DeviceOption,
    DryRunOption,
    GpusOption,
    GroupOption,
    KeepStateOption,
    NameOption,
    OfflineOption,
    ParallelOption,
    PositiveOption,
    RecipeOption,
    RecipesOption,
    RepeatsOption,
    ResumeOption,
    SeedOption,
    SetOption,
    SplitsOption,
    TargetSensitivityOption,
    TargetSpecificityOption,
    TensorboardOption,
    command_line,
)
from magsd_cli.console import KEEP_STATE_VARIABLE, OFFLINE_VARIABLE, noted, one_of_many
from magsd_cli.errors import UsageError
from magsd_cli.settings import Group, Parallel

if TYPE_CHECKING:
    from magsd_cli.recipe import Recipe


def train(
    context: typer.Context,
    cache: CacheOption = None,
    recipe: RecipeOption = "base",
    overrides: SetOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = "auto",
    name: NameOption = None,
    seed: SeedOption = None,
    resume: ResumeOption = None,
    splits: SplitsOption = None,
    tensorboard: TensorboardOption = False,
    offline: OfflineOption = False,
    keep_state: KeepStateOption = False,
) -> int:
    """Train one network and test it on a part held out.

    One split, of which a fifth is held out. Prints the run's path.
    """
    _tell_processes(offline, keep_state)
    wanted = _recipe(recipe, overrides, seed, resume)
    with noted("loading torch"):
        from magsd_cli.training.plan import RunOptions
        from magsd_cli.training.run import train as stage

    options = RunOptions(
        runs=context.obj,
        cache=cache,
        recipe=wanted,
        name=name,
        resume=resume,
        splits=splits,
        device=device,
        gpus=gpus,
        tensorboard=tensorboard,
        command=command_line(context),
    )
    return _print(stage(options))


def cv(
    context: typer.Context,
    cache: CacheOption = None,
    recipe: RecipesOption = None,
    overrides: SetOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    repeats: RepeatsOption = 1,
    gpus: GpusOption = None,
    parallel: ParallelOption = Parallel.folds,
    cluster: ClusterOption = None,
    device: DeviceOption = "auto",
    name: NameOption = None,
    seed: SeedOption = None,
    resume: ResumeOption = None,
    splits: SplitsOption = None,
    tensorboard: TensorboardOption = False,
    group: GroupOption = Group.patient,
    positive: PositiveOption = None,
    target_sensitivity: TargetSensitivityOption = None,
    target_specificity: TargetSpecificityOption = None,
    coverage: CoverageOption = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Also train one network on all images, for predict --network refit."),
    ] = False,
    offline: OfflineOption = False,
    keep_state: KeepStateOption = False,
    dry_run: DryRunOption = False,
) -> int:
    """Cross-validate: train and test a network for each fold.

    Each image is tested once, by a network that never saw its patient. Prints the run's path.
    """
    from magsd_cli.artifacts.suites import is_suite

    _tell_processes(offline, keep_state)
    names = recipe or ["base"]
    several = repeats > 1 or is_suite(names)
    if several and resume is not None:
        raise UsageError(
            f"--resume {resume}: goes with one recipe and no --repeats; start the suite again without it"
        )
    if several and dry_run:
        raise UsageError("--dry-run: goes with one recipe; name one of the suite's rows")
    wanted = None if several else _recipe(names[0], overrides, seed, resume)
    with noted("loading torch"):
        from magsd_cli.evaluation.calibrate import targets_from_options
        from magsd_cli.training.plan import RunOptions
        from magsd_cli.training.run import cv as stage
        from magsd_cli.training.suite import suite

    targets = targets_from_options(positive, target_sensitivity, target_specificity, coverage)
    options = RunOptions(
        runs=context.obj,
        cache=cache,
        recipe=wanted,
        name=name,
        folds=folds,
        repeats=repeats,
        resume=resume,
        splits=splits,
        group=group,
        device=device,
        gpus=gpus,
        parallel=parallel,
        cluster=cluster,
        tensorboard=tensorboard,
        targets=targets,
        refit=refit,
        command=command_line(context),
    )
    if dry_run:
        from magsd_cli.training.dry_run import dry_run as plan

        plan("cv", options)
        return 0
    if not several:
        return _print(stage(options))
    path, code = suite(names, _settings(overrides, seed), options)
    print(path)
    return code


def calibrate(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="The run (default: the newest).")] = None,
    positive: PositiveOption = None,
    target_sensitivity: TargetSensitivityOption = None,
    target_specificity: TargetSpecificityOption = None,
    coverage: CoverageOption = None,
) -> int:
    """Choose temperature, threshold and referral of a run.

    Prints the path. Trains nothing. Options you leave out keep their stored values; `--coverage 1` refers
    nothing for a low confidence.
    """
    with noted("calibrate: loading libraries"):
        from magsd_cli.evaluation.calibrate import calibrate as stage
        from magsd_cli.evaluation.calibrate import targets_from_options

    targets = targets_from_options(positive, target_sensitivity, target_specificity, coverage)
    print(stage(run=run, runs=context.obj, targets=targets))
    return 0


def _tell_processes(offline: bool, keep_state: bool) -> None:
    """Put what every process of this command must know into the environment, which its children inherit."""
    for variable, wanted in ((OFFLINE_VARIABLE, offline), (KEEP_STATE_VARIABLE, keep_state)):
        if wanted:
            os.environ[variable] = "1"


def _print(path: Path) -> int:
    """The run's path on stdout, once also where torchrun started several of us."""
    if not one_of_many():
        print(path)
    return 0


def _recipe(
    name: str, overrides: Sequence[str] | None, seed: int | None, resume: Path | None
) -> Recipe | None:
    """The recipe that is asked for; None where a run is resumed with the one that it has."""
    from magsd_cli.recipe import load_recipe

    if resume is not None and name == "base" and not overrides and seed is None:
        return None
    return load_recipe(name, _settings(overrides, seed))


def _settings(overrides: Sequence[str] | None, seed: int | None) -> list[str]:
    return [*(overrides or ()), *([] if seed is None else [f"seed={seed}"])]
