"""The command line: global options, the list of commands, errors to exit codes, signals.

Nothing heavy is imported here or in `commands`: a stage is imported inside its command, so that
`magsd --help` answers without torch.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from magsd_cli import __version__
from magsd_cli.commands.inference import localize, predict
from magsd_cli.commands.lungs import lungs_app
from magsd_cli.commands.missing import missing_package
from magsd_cli.commands.options import COMMAND_LINE
from magsd_cli.commands.pacs import pacs_app
from magsd_cli.commands.prepare import prepare
from magsd_cli.commands.recipes import recipes_app
from magsd_cli.commands.report import report
from magsd_cli.commands.runs import runs_app
from magsd_cli.commands.tools import demo, doctor, export, verify
from magsd_cli.commands.training import calibrate, cv, train
from magsd_cli.console import LOG_FORMAT_VARIABLE, VERBOSITY_VARIABLE, detail, is_json, printable, say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError, UsageError
from magsd_cli.settings import LogFormat

EPILOG = (
    "--runs, --debug, --log-format, --quiet and --verbose may stand anywhere on the line. Not for clinical "
    "diagnosis."
)

#: The commands of the help in the order of work. One that is not named here comes last.
GROUPS = {
    "From X-rays to a report": ("demo", "prepare", "train", "cv", "calibrate", "report"),
    "New images": ("predict", "localize", "export", "pacs"),
    "Runs, recipes, machine": ("runs", "recipes", "lungs", "verify", "doctor"),
}


class Commands(TyperGroup):
    """The list of commands, in groups."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (Typer gives it)
        """Return the names in the order of work."""
        order = [name for names in GROUPS.values() for name in names]
        return [name for name in order if name in self.commands] + self._others()

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (Typer gives it)
        """Write a section for each group; a line is the first sentence of a command's help."""
        others = {"More": tuple(self._others())}
        for title, names in (GROUPS | others).items():
            known = [(name, self.commands[name]) for name in names if name in self.commands]
            room = formatter.width - 6 - max(len(name) for name in self.commands)
            rows = [(name, one.get_short_help_str(room)) for name, one in known if not one.hidden]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=30, col_spacing=2 + self._widest() - _widest(rows))

    def _widest(self) -> int:
        return max(len(name) for name in self.commands)

    def _others(self) -> list[str]:
        grouped = {name for names in GROUPS.values() for name in names}
        return [name for name in self.commands if name not in grouped]


def _widest(rows: Sequence[tuple[str, str]]) -> int:
    return max(len(name) for name, _ in rows)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        print(f"magsd {__version__}")
        raise typer.Exit


def _install_completion(value: bool) -> None:
    """Write the completion of the shell that runs us where that shell reads it: the one write under HOME."""
    if value:
        from typer._completion_shared import install

        shell, path = install(shell=_shell(), prog_name="magsd", complete_var=COMPLETE_VARIABLE)
        say(f"{path}: {shell} completion installed; open a new terminal to use it", path=path, shell=shell)
        raise typer.Exit


def _show_completion(value: bool) -> None:
    if value:
        from typer._completion_shared import get_completion_script

        print(get_completion_script(prog_name="magsd", complete_var=COMPLETE_VARIABLE, shell=_shell()))
        raise typer.Exit


COMPLETE_VARIABLE = "_MAGSD_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def _shell() -> str:
    """The shell of the person. Raises `UsageError` for one that has no completion here."""
    name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(
            f"SHELL={name or 'unset'}: completion works in {', '.join(SHELLS)}; set SHELL to one of them"
        )
    return name


@app.callback()
def _global_options(
    context: typer.Context,
    runs: Annotated[Path, typer.Option(envvar="MAGSD_RUNS", help="Folder of caches and runs.")] = Path(
        "runs"
    ),
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001 (read from the line by `main`)
    log_format: Annotated[
        LogFormat, typer.Option(help="Lines on stderr as text, or as JSON for programs.")
    ] = LogFormat.text,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings and errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show more: settings, every bad file, times.")
    ] = False,
    install_completion: Annotated[  # noqa: ARG001 (its callback installs it)
        bool,
        typer.Option(
            "--install-completion",
            callback=_install_completion,
            is_eager=True,
            help="Install shell completion (bash, zsh, fish).",
        ),
    ] = False,
    show_completion: Annotated[  # noqa: ARG001 (its callback prints it)
        bool,
        typer.Option(
            "--show-completion", callback=_show_completion, is_eager=True, help="Print the completion script."
        ),
    ] = False,
    version: Annotated[  # noqa: ARG001 (its callback prints it)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Classify COVID-19 and other pneumonia on chest X-rays, and show where the network looked.

    prepare -> cv (or train) -> report; predict and localize use the newest run. Try `magsd demo` first.
    """
    context.obj = runs
    context.meta[COMMAND_LINE] = tuple(sys.argv)
    os.environ[LOG_FORMAT_VARIABLE] = log_format.value
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; omit one of them")
    os.environ[VERBOSITY_VARIABLE] = "quiet" if quiet else "verbose" if verbose else ""
    detail(f"magsd {__version__}, Python {sys.version.split()[0]}; runs folder {runs.absolute()}")
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


app.add_typer(runs_app, name="runs")
app.add_typer(recipes_app, name="recipes")
app.add_typer(pacs_app, name="pacs")
app.add_typer(lungs_app, name="lungs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with the contract's exit code. Errors are one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path goes out as the bytes that it is
        sys.stdout.reconfigure(encoding=sys.getfilesystemencoding(), errors=sys.getfilesystemencodeerrors())
    signal.signal(signal.SIGTERM, _terminate)
    os.environ[LOG_FORMAT_VARIABLE] = "json" if _asks_for_json(given) else ""  # for errors of the line itself
    started = time.monotonic()
    if COMPLETE_VARIABLE in os.environ:  # a shell asks what may stand where its cursor is
        from typer._completion_classes import completion_init

        completion_init()
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
    _say_end(code if isinstance(code, int) else 0, time.monotonic() - started)
    sys.exit(code if isinstance(code, int) else 0)


def _say_end(code: int, seconds: float) -> None:
    """Say the time with --verbose; for programs that read the lines, also the exit code of every command."""
    words = f"ended with code {code} after {seconds:.1f} s"
    speak = say if is_json() else detail
    speak(words, exit_code=code, seconds=round(seconds, 3))


def _terminate(number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds like an exception, so that locks and temporary files are let go."""
    raise Interrupted(number, "terminated: what was done is kept; run it again to continue")


def _asks_for_json(given: list[str]) -> bool:
    pairs = pairwise(given)
    return "--log-format=json" in given or ("--log-format", "json") in pairs


FLAGS = ("--debug", "--quiet", "-q", "--verbose", "-v")


def _globals_first(given: list[str]) -> list[str]:
    """Move --runs, --debug, --log-format, --quiet, --verbose to the front: they may stand anywhere."""
    end = given.index("--") if "--" in given else len(given)
    words, rest = iter(given[:end]), given[end:]
    front: list[str] = []
    behind: list[str] = []
    for word in words:
        if word in ("--runs", "--log-format"):
            front += [word, *([following] if (following := next(words, None)) is not None else [])]
        elif word in FLAGS or word.startswith(("--runs=", "--log-format=")):
            front.append(word)
        else:
            behind.append(word)
    return front + behind + rest


def _usage_in_words(error: Any) -> str:
    """Typer's own usage error, with the near option that it knows and the help of the command meant."""
    text = error.format_message().rstrip(".")
    near = getattr(error, "possibilities", None)
    if near:
        text = f"{text.split(' (')[0]}; did you mean {' or '.join(sorted(near))}?"
    context = getattr(error, "ctx", None)
    return f"{text.removesuffix('?')}{'?' if text.endswith('?') else ';'} see {_path(context)} --help"


def _path(context: Any) -> str:
    return "magsd" if context is None else str(context.command_path)


def _explain(error: Exception) -> int:
    """Say the error in one line; return its exit code."""
    if isinstance(error, ModuleNotFoundError) and (line := missing_package(error.name)):
        error = UsageError(line)
    if isinstance(error, MagsdError):
        say(f"magsd: error: {error}", level="error", error=type(error).__name__, exit_code=error.exit_code)
        return error.exit_code
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return 2
    if hasattr(error, "format_message"):  # Typer's own usage errors
        words = f"magsd: error: {printable(_usage_in_words(error))}"
        say(words, level="error", error=UsageError.__name__, exit_code=UsageError.exit_code)
        return UsageError.exit_code
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
        error=type(error).__name__,
        exit_code=1,
    )
    return 1
