"""Options that several commands share, and the words that some of them take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.errors import UsageError
from magsd_cli.settings import Group, Network, Parallel

COMMAND_LINE = "magsd.command_line"  # where cli.py leaves it in a context's meta


def command_line(context: typer.Context) -> tuple[str, ...]:
    """The words that started this process, which a run's provenance keeps."""
    return tuple(context.meta.get(COMMAND_LINE, ()))


def share(value: float | None) -> float | None:
    """Refuse a value that is not between 0 and 1; for a percentage suggest the fraction."""
    if value is None or 0 <= value <= 1:
        return value
    meant = f"; did you mean {value / 100:g}?" if 1 < value <= 100 else ""
    raise typer.BadParameter(f"{value:g} is not between 0 and 1{meant}")


def positive_share(value: float | None) -> float | None:
    """Check a value as `share` does, and refuse one below 0.01."""
    if value is not None and 0 <= value < 0.01:
        raise typer.BadParameter(f"{value:g} is less than 0.01")
    return share(value)


def existing_file(context: typer.Context, parameter: typer.CallbackParam, value: Path | None) -> Path | None:
    """Refuse an option's file that is not there, before anything heavy is loaded; "-" is standard input."""
    if value is not None and str(value) != "-" and not context.resilient_parsing:
        _refuse_missing(parameter, value, value.is_dir(), "a folder; name a file")
    return value


def existing_folder(
    context: typer.Context, parameter: typer.CallbackParam, value: Path | None
) -> Path | None:
    """Refuse an option's folder that is not there, before anything heavy is loaded."""
    if value is not None and not context.resilient_parsing:
        _refuse_missing(parameter, value, not value.is_dir(), "not a folder; name a folder")
    return value


def existing_folders(
    context: typer.Context, parameter: typer.CallbackParam, value: list[Path] | None
) -> list[Path] | None:
    """Refuse an option's folders of which one is not there, before anything heavy is loaded."""
    for one in value or []:
        existing_folder(context, parameter, one)
    return value


def _refuse_missing(parameter: typer.CallbackParam, value: Path, wrong: bool, what: str) -> None:
    option = max(parameter.opts, key=len)
    if not value.exists():
        raise UsageError(f"{option} {value}: not found; check the path")
    if wrong:
        raise UsageError(f"{option} {value}: is {what}")


def _recipe_names(incomplete: str) -> list[str]:
    from magsd_cli.recipe import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


CacheOption = Annotated[
    Path | None, typer.Option("--cache", help="The cache to train on (default: the newest).")
]

RecipeOption = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="A built-in recipe's name or a TOML file.",
        autocompletion=_recipe_names,
    ),
]

RecipesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        autocompletion=_recipe_names,
        help="A built-in recipe's name or a TOML file (default: base). Several, or a folder such as table3: "
        "one run after another, a suite.",
    ),
]

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one recipe key: --set train.epochs=2", metavar="KEY=VALUE"),
]

GpusOption = Annotated[
    int | None, typer.Option("--gpus", min=1, help="Number of GPUs (with --device cpu: of processes).")
]

ParallelOption = Annotated[
    Parallel,
    typer.Option("--parallel", help="With --gpus: train folds side by side, or (ddp) each network together."),
]

ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", help="Work on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT (extra ray)."),
]

TensorboardOption = Annotated[
    bool,
    typer.Option("--tensorboard", help="Also write training curves for TensorBoard (extra tensorboard)."),
]

DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The run's name (default: from the recipe).")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="The same as --set seed=N.")]

OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Do not download ImageNet weights (same as MAGSD_OFFLINE=1).")
]

KeepStateOption = Annotated[
    bool,
    typer.Option(
        "--keep-state", help="Keep the training state of finished folds (same as MAGSD_KEEP_STATE=1)."
    ),
]

DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say what would be read and written, the time and the disk space."),
]

ResumeOption = Annotated[Path | None, typer.Option("--resume", help="Continue this run.")]

RepeatsOption = Annotated[
    int,
    typer.Option(
        "--repeats",
        min=1,
        metavar="R",
        help="Make R runs (a suite), each with the next seed and new folds.",
    ),
]

SplitsOption = Annotated[
    Path | None,
    typer.Option(
        "--splits",
        callback=existing_file,
        help="CSV of published folds: image_id,fold (default: drawn by seed).",
    ),
]

GroupOption = Annotated[
    Group,
    typer.Option("--group", help="What a fold holds out: patients, or one source of images."),
]

PositiveOption = Annotated[
    str | None,
    typer.Option("--positive", metavar="CLASS", help="The class that predict decides about (yes or no)."),
]

TargetSensitivityOption = Annotated[
    float | None,
    typer.Option(
        "--target-sensitivity",
        callback=positive_share,
        help="Detect at least this share of that class, such as 0.95.",
    ),
]

TargetSpecificityOption = Annotated[
    float | None,
    typer.Option(
        "--target-specificity",
        callback=positive_share,
        help="Or exclude at least this share of the other images.",
    ),
]

CoverageOption = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        callback=positive_share,
        help="Answer this share of the images, such as 0.9; refer the rest.",
    ),
]

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="A run or model file (default: the newest run).")
]

NetworkOption = Annotated[
    Network | None,
    typer.Option(
        "--network",
        help="The networks of the folds (default), or the one trained on all images by cv --refit.",
    ),
]

WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Number of processes (default: one per core).")
]
