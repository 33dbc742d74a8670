"""`magsd export`, `magsd verify` and `magsd doctor`: what keeps runs and machines in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import DeviceOption, NetworkOption, command_line, share
from magsd_cli.console import noted
from magsd_cli.settings import Network


def export(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="The run (default: the newest).")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write here (default: model.magsd in the run).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Use 8-bit integers (faster again), if as good out of fold.")
    ] = False,
    margin: Annotated[
        float, typer.Option(callback=share, help="With --int8: accuracy and AUC must drop by less than this.")
    ] = 0.01,
    network: NetworkOption = None,
) -> int:
    """Export a run as one file that predicts without torch.

    Twice as fast on a CPU. Prints the file's path.
    """
    with noted("loading torch"):
        from magsd_cli.export.export import export as stage

    path = stage(
        run=run,
        runs=context.obj,
        out=out,
        overwrite=overwrite,
        int8=margin if int8 else None,
        network=network or Network.folds,
    )
    print(path)
    return 0


def doctor(context: typer.Context) -> int:
    """Check what this machine has and what will not work on it."""
    from magsd_cli.tools.doctor import doctor as stage

    return stage(runs=context.obj)


def verify(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, a cache or a table.")],
) -> int:
    """Check the recorded hashes of a run or a cache."""
    from magsd_cli.tools.verify import verify as stage

    return stage(path)


def demo(context: typer.Context, device: DeviceOption = "auto") -> int:
    """Run the whole tool on synthetic X-rays, in minutes.

    All six commands, on a data set that is drawn on the spot. Prints the report's path.
    """
    from magsd_cli.tools.demo import demo as stage

    print(stage(runs=context.obj, device=device, command=command_line(context)))
    return 0
