"""The command line: global options, the list of commands, errors to exit codes, signals.

Nothing heavy is imported here or in `commands`: a stage is imported inside its command, so that
`magsd --help` answers without torch.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from magsd_cli import __version__
from magsd_cli.commands.inference import localize, predict
from magsd_cli.commands.missing import missing_package
from magsd_cli.commands.options import COMMAND_LINE
from magsd_cli.commands.pacs import pacs_app
from magsd_cli.commands.prepare import prepare
from magsd_cli.commands.recipes import recipes_app
from magsd_cli.commands.report import report
from magsd_cli.commands.tools import demo, doctor, export, verify
from magsd_cli.commands.training import calibrate, cv, train
from magsd_cli.console import LOG_FORMAT_VARIABLE, printable, say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError, UsageError
from magsd_cli.settings import LogFormat

EPILOG = "--runs, --debug and --log-format may stand anywhere on the line. Not for clinical diagnosis."

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"max_content_width": 110},
)


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
    context.meta[COMMAND_LINE] = tuple(sys.argv)
    os.environ[LOG_FORMAT_VARIABLE] = log_format.value
    # Matplotlib would write its font cache under HOME, or where it cannot, build it again for each report.
    os.environ.setdefault("MPLCONFIGDIR", str(runs.absolute() / ".matplotlib"))


for command in (
    prepare,
    train,
    cv,
    calibrate,
    predict,
    export,
    doctor,
    localize,
    report,
    demo,
    verify,
):
    app.command()(command)


app.add_typer(recipes_app, name="recipes")
app.add_typer(pacs_app, name="pacs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with the contract's exit code. Errors are one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path goes out as the bytes that it is
        sys.stdout.reconfigure(encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors())
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
    if isinstance(error, ModuleNotFoundError) and (line := missing_package(error.name)):
        error = UsageError(line)
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
