"""`magsd train`, `magsd cv` and `magsd calibrate`: they share options, and what these say to the stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from magsd_cli.commands.options import (
    CacheOption,
    ClusterOption,
    CoverageOption,
    DeviceOption,
    GpusOption,
    GroupOption,
    NameOption,
    ParallelOption,
    PositiveOption,
    RecipeOption,
    RecipesOption,
    ResumeOption,
    SeedOption,
    SetOption,
    SplitsOption,
    TargetSensitivityOption,
    TargetSpecificityOption,
    TensorboardOption,
)
from magsd_cli.console import one_of_many
from magsd_cli.errors import UsageError
from magsd_cli.settings import Group, Parallel

AIMS = ("positive", "target_sensitivity", "target_specificity", "coverage")


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
) -> int:
    """Train one network on one split and test it on the part held out. Prints the run's path."""
    given = _for_the_stage(**locals())
    from magsd_cli.training.run import train as stage

    return _print(stage(**given))


def cv(
    context: typer.Context,
    cache: CacheOption = None,
    recipe: RecipesOption = None,
    overrides: SetOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
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
) -> int:
    """Cross-validate: each image is tested once, by a network that never saw its patient. Prints the run."""
    given = locals()
    from magsd_cli.evaluation.calibrate import targets_from_options
    from magsd_cli.training.run import cv as stage
    from magsd_cli.training.suite import is_suite, suite

    names = recipe or ["base"]
    targets = targets_from_options(*(given.pop(aim) for aim in AIMS))
    if not is_suite(names):
        return _print(stage(targets=targets, **_for_the_stage(**{**given, "recipe": names[0]})))
    if resume is not None:
        raise UsageError(f"--resume {resume}: goes with one recipe; start the suite again without it")
    shared = {
        key: given[key]
        for key in (
            "cache",
            "folds",
            "gpus",
            "parallel",
            "cluster",
            "device",
            "splits",
            "tensorboard",
            "group",
        )
    }
    path, code = suite(
        names, _settings(overrides, seed), runs=context.obj, name=name, targets=targets, **shared
    )
    print(path)
    return code


def calibrate(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="The run (default: the newest).")
    ] = None,
    positive: PositiveOption = None,
    target_sensitivity: TargetSensitivityOption = None,
    target_specificity: TargetSpecificityOption = None,
    coverage: CoverageOption = None,
) -> int:
    """Choose how a finished run is used: temperature, threshold, what to refer. Prints the path.

    Trains nothing. What is not named stays as it was; `--coverage 1` refers nothing for a low confidence.
    """
    from magsd_cli.evaluation.calibrate import calibrate as stage
    from magsd_cli.evaluation.calibrate import targets_from_options

    targets = targets_from_options(positive, target_sensitivity, target_specificity, coverage)
    print(stage(run=run, runs=context.obj, targets=targets))
    return 0


def _print(path: Path) -> int:
    """The run's path on stdout, once also where torchrun started several of us."""
    if not one_of_many():
        print(path)
    return 0


def _for_the_stage(
    context: typer.Context,
    recipe: str,
    overrides: Sequence[str] | None,
    seed: int | None,
    resume: Path | None,
    **others: Any,
) -> dict[str, Any]:
    """What the command line says of a run, as the stage's keyword arguments; `others` go as they are.

    A resumed run keeps the recipe that it has (None) unless another is asked for.
    """
    as_it_is = resume is not None and recipe == "base" and not overrides and seed is None
    chosen = None if as_it_is else _recipe(recipe, overrides, seed)
    return {"recipe": chosen, "runs": context.obj, "resume": resume, **others}


def _recipe(name: str, overrides: Sequence[str] | None, seed: int | None) -> Any:
    from magsd_cli.recipe import load_recipe

    return load_recipe(name, _settings(overrides, seed))


def _settings(overrides: Sequence[str] | None, seed: int | None) -> list[str]:
    return [*(overrides or ()), *([] if seed is None else [f"seed={seed}"])]
