"""The commands: parse, call a stage, turn errors into exit codes. Nothing heavy is imported here.

A stage is imported inside its command, so that `magsd --help` answers without torch.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from magsd_cli import __version__
from magsd_cli.console import LOG_FORMAT_VARIABLE, printable, say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError, UsageError
from magsd_cli.options import (
    CacheOption,
    DeviceOption,
    Engine,
    GpusOption,
    Layout,
    LogFormat,
    ModelOption,
    NameOption,
    RecipeOption,
    SeedOption,
    SetOption,
    SplitsOption,
    View,
    WorkersOption,
)
from magsd_cli.recipe_commands import recipes_app

EPILOG = "--runs, --debug and --log-format may stand anywhere on the line. Not for clinical diagnosis."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"max_content_width": 110},
)
app.add_typer(recipes_app, name="recipes")


def _show_version(value: bool) -> None:
    if value:
        print(f"magsd {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    runs: Annotated[Path, typer.Option(envvar="MAGSD_RUNS", help="Where caches and runs are kept.")] = Path(
        "runs"
    ),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001 (read from the line by `main`)
    log_format: Annotated[
        LogFormat, typer.Option(help="Lines on stderr for people or machines.")
    ] = LogFormat.text,
    version: Annotated[  # noqa: ARG001 (its callback prints it)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Classify COVID-19 and other pneumonia on chest X-rays, see where the network looked, how good it is.

    prepare -> cv (or train) -> report; predict and localize use the newest run. Try `magsd demo` first.
    """
    context.obj = runs
    os.environ[LOG_FORMAT_VARIABLE] = log_format.value


@app.command()
def prepare(
    context: typer.Context,
    sources: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE...", help="Folders or files of X-rays.")
    ] = None,
    layout: Annotated[Layout, typer.Option(help="How the sources are laid out.")] = Layout.auto,
    name: Annotated[str | None, typer.Option(help="The cache's name (default: the first source's).")] = None,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side of the cached images in pixels.")] = 224,
    clahe: Annotated[
        bool, typer.Option("--clahe/--no-clahe", help="Equalise the contrast (section 4.2).")
    ] = True,
    clip_limit: Annotated[float, typer.Option(min=0.01, help="CLAHE's clip limit.")] = 4.0,
    tiles: Annotated[int, typer.Option(min=1, max=64, help="CLAHE's tiles along each side.")] = 4,
    label_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OLD=NEW", help="Rename a label; an empty NEW leaves it out."),
    ] = None,
    per_class: Annotated[
        int | None, typer.Option(min=1, help="At most this many images of each class.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Draws the images of --per-class and of data recipes.")
    ] = 0,
    view: Annotated[View, typer.Option(help="Lateral films are left out unless `all`.")] = View.frontal,
    site_key: Annotated[
        Path | None,
        typer.Option(
            help="File whose content keys the hashes of DICOM patient ids.", envvar="MAGSD_SITE_KEY_FILE"
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A data recipe, such as data/a (Table 1).")] = None,
    named: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME=PATH", help="An archive that the data recipe names."),
    ] = None,
    workers: WorkersOption = None,
) -> int:
    """Decode X-rays, equalise their contrast and pack them into one cache. Prints the cache's path."""
    from magsd_cli.stages.prepare import prepare as stage

    if not sources and recipe is None:
        raise UsageError("SOURCE: name a folder of X-rays, or a data recipe with --recipe")
    path, code = stage(
        sources or [],
        context.obj,
        layout=layout.value,
        name=name,
        size=size,
        clahe=clahe,
        clip_limit=clip_limit,
        tiles=tiles,
        label_map=label_map or [],
        per_class=per_class,
        seed=seed,
        view=view.value,
        key_file=site_key,
        recipe=recipe,
        named=named or [],
        workers=workers,
    )
    print(path)
    return code


@app.command()
def train(
    context: typer.Context,
    cache: CacheOption = None,
    recipe: RecipeOption = "base",
    overrides: SetOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = "auto",
    name: NameOption = None,
    seed: SeedOption = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue this run.")] = None,
    splits: SplitsOption = None,
) -> int:
    """Train one network on one split and test it on the part held out. Prints the run's path."""
    as_it_is = resume is not None and recipe == "base" and not overrides and seed is None
    chosen = None if as_it_is else _recipe(recipe, overrides, seed)
    from magsd_cli.stages.train import train as stage

    print(
        stage(
            cache=cache,
            recipe=chosen,
            runs=context.obj,
            name=name,
            device=device,
            gpus=gpus,
            resume=resume,
            splits=splits,
        )
    )
    return 0


@app.command()
def cv(
    context: typer.Context,
    cache: CacheOption = None,
    recipe: RecipeOption = "base",
    overrides: SetOption = None,
    folds: Annotated[int, typer.Option(min=2, help="Number of folds.")] = 5,
    gpus: GpusOption = None,
    device: DeviceOption = "auto",
    name: NameOption = None,
    seed: SeedOption = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Continue this run.")] = None,
    splits: SplitsOption = None,
) -> int:
    """Cross-validate: each image is tested once, by a network that never saw its patient. Prints the run."""
    as_it_is = resume is not None and recipe == "base" and not overrides and seed is None
    chosen = None if as_it_is else _recipe(recipe, overrides, seed)
    from magsd_cli.stages.cv import cv as stage

    print(
        stage(
            cache=cache,
            recipe=chosen,
            runs=context.obj,
            name=name,
            folds=folds,
            device=device,
            gpus=gpus,
            resume=resume,
            splits=splits,
        )
    )
    return 0


@app.command()
def predict(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images or folders of images.")],
    model: ModelOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the table to this file.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the rows that FILE has and score the rest.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    watch_once: Annotated[
        bool, typer.Option("--watch-once", help="For cron: add what FILE has not seen yet, keep all it has.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = Engine.auto,
    device: DeviceOption = "auto",
    gpus: GpusOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time (default: 1 on the CPU, 16 on a GPU).")
    ] = None,
    workers: WorkersOption = None,
) -> int:
    """Classify images: one row for every input file, as Parquet on stdout or in --out."""
    from magsd_cli.stages.predict import predict as stage

    return stage(
        inputs=inputs,
        model=model,
        runs=context.obj,
        out=out,
        resume=resume,
        overwrite=overwrite,
        watch_once=watch_once,
        engine=engine.value,
        device=device,
        gpus=gpus,
        batch_size=batch_size,
        workers=workers,
    )


@app.command()
def export(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="The run (default: the newest).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write here (default: model.magsd in the run).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
) -> int:
    """Make a run one file that predicts without torch, twice as fast on a CPU. Prints its path."""
    from magsd_cli.stages.export import export as stage

    print(stage(run=run, runs=context.obj, out=out, overwrite=overwrite))
    return 0


@app.command()
def doctor(context: typer.Context) -> int:
    """Say what this machine has, and what will not work on it and why."""
    from magsd_cli.stages.doctor import doctor as stage

    return stage(runs=context.obj)


@app.command()
def localize(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images or folders of images.")],
    model: ModelOption = None,
    boxes: Annotated[
        Path | None, typer.Option(help="CSV of true boxes: path,x,y,width,height in pixels.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of true masks (PNG, named as the images).")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Share of the attention's maximum.")] = 0.5,
    name: NameOption = None,
    device: DeviceOption = "auto",
) -> int:
    """Show where the network looked: overlays, masks, boxes, and IoU against the truth. Prints the folder."""
    from magsd_cli.stages.localize import localize as stage

    path, code = stage(
        inputs=inputs,
        model=model,
        runs=context.obj,
        boxes=boxes,
        masks=masks,
        threshold=threshold,
        name=name,
        device=device,
    )
    print(path)
    return code


@app.command()
def report(
    context: typer.Context,
    runs_given: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN...]", help="Runs (default: the newest); several are compared."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report (default: the run's own).")] = None,
    external: Annotated[
        Path | None, typer.Option(help="CSV of outside images: label, p_<class>, patient_id.")
    ] = None,
) -> int:
    """Write the report of a run, or the comparison of several. Prints its path."""
    from magsd_cli.stages.report import report as stage

    print(stage(runs_given=runs_given or [], runs=context.obj, out=out, external=external))
    return 0


@app.command()
def demo(context: typer.Context, device: DeviceOption = "auto") -> int:
    """Run all six commands on a synthetic data set made on the spot. Prints the report's path."""
    from magsd_cli.stages.demo import demo as stage

    print(stage(runs=context.obj, device=device))
    return 0


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, a cache or a table.")],
) -> int:
    """Check every recorded hash of a run or a cache again."""
    from magsd_cli.stages.verify import verify as stage

    return stage(path)


def _recipe(name: str, overrides: Sequence[str] | None, seed: int | None) -> Any:
    from magsd_cli.recipe import load_recipe

    return load_recipe(name, [*(overrides or ()), *([] if seed is None else [f"seed={seed}"])])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with the contract's exit code. Errors are one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = typer.main.get_command(app)(_globals_first(given), prog_name="magsd", standalone_mode=False)
    except Exception as error:
        if "--debug" in given:
            traceback.print_exception(error)
        code = _explain(error)
    except KeyboardInterrupt:
        code = _explain(
            Interrupted(signal.SIGINT, "interrupted: what was done is kept; run it again to continue")
        )
    sys.exit(code if isinstance(code, int) else 0)


def _terminate(number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds like an exception, so that locks and temporary files are let go."""
    raise Interrupted(number, "terminated: what was done is kept; run it again to continue")


def _globals_first(given: list[str]) -> list[str]:
    """Move --runs, --debug and --log-format to the front: they may stand anywhere on the line."""
    end = given.index("--") if "--" in given else len(given)
    words, rest = iter(given[:end]), given[end:]
    front: list[str] = []
    behind: list[str] = []
    for word in words:
        if word in ("--runs", "--log-format"):
            front += [word, *([following] if (following := next(words, None)) is not None else [])]
        elif word == "--debug" or word.startswith(("--runs=", "--log-format=")):
            front.append(word)
        else:
            behind.append(word)
    return front + behind + rest


def _explain(error: Exception) -> int:
    """Say the error in one line; return its exit code."""
    if isinstance(error, MagsdError):
        say(f"magsd: error: {error}", level="error")
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return 2
    if hasattr(error, "format_message"):  # Typer's own usage errors
        say(f"magsd: error: {printable(error.format_message())}; see magsd --help", level="error")
        return 2
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return _explain(
            DeviceError(
                f"out of memory ({type(error).__name__}); try a smaller train.batch_size or --batch-size"
            )
        )
    if type(error).__name__ == "Abort":  # what Typer makes of Ctrl-C
        return _explain(
            Interrupted(signal.SIGINT, "interrupted: what was done is kept; run it again to continue")
        )
    say(
        f"magsd: error: unexpected {type(error).__name__}: {error}; run it with --debug and report it",
        level="error",
    )
    return 1
