"""The commands: parse, call a stage, turn errors into exit codes. Nothing heavy is imported here.

A stage is imported inside its command, so that `magsd --help` answers without torch.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from magsd_cli import __version__
from magsd_cli.console import LOG_FORMAT_VARIABLE, printable, say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError, UsageError

EPILOG = "--runs, --debug and --log-format may stand anywhere on the line. Not for clinical diagnosis."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)
recipes_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and copy the recipes.")
app.add_typer(recipes_app, name="recipes")


class LogFormat(StrEnum):
    """How lines on stderr look."""

    text = "text"
    json = "json"


class Layout(StrEnum):
    """How a source folder is laid out."""

    auto = "auto"
    folder = "folder"
    csv = "csv"


class Engine(StrEnum):
    """What runs the network in predict."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"


CacheOption = Annotated[Path | None, typer.Option("--cache", help="The cache to train on (default: the newest).")]
RecipeOption = Annotated[str, typer.Option("--recipe", help="A built-in recipe's name or a TOML file.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change one recipe key: --set train.epochs=2", metavar="KEY=VALUE")
]
GpusOption = Annotated[int | None, typer.Option("--gpus", min=1, help="Use this many GPUs (with --device cpu: processes).")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The run's name (default: from the recipe).")]
SeedOption = Annotated[int | None, typer.Option("--seed", min=0, help="The same as --set seed=N.")]
ModelOption = Annotated[Path | None, typer.Option("--model", help="A run or model file (default: the newest run).")]
WorkersOption = Annotated[int | None, typer.Option("--workers", min=1, help="Processes (default: the cores).")]


def _show_version(value: bool) -> None:
    if value:
        print(f"magsd {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    runs: Annotated[Path, typer.Option(envvar="MAGSD_RUNS", help="Where caches and runs are kept.")] = Path("runs"),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    log_format: Annotated[LogFormat, typer.Option(help="Lines on stderr for people or machines.")] = LogFormat.text,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Classify COVID-19 and other pneumonia on chest X-rays with MAG-SD, see where it looked, and check how good it is.

    prepare -> cv (or train) -> report; predict and localize use the newest run. Try `magsd demo` first.
    """
    context.obj = runs
    os.environ[LOG_FORMAT_VARIABLE] = log_format.value
