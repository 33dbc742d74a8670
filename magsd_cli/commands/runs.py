"""`magsd runs`: list, show, compare and remove runs, and free what none of them needs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magsd_cli.console import in_bytes, say
from magsd_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magsd_cli.tools.runs_clean import Removal

runs_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, show, compare and remove runs.",
)

YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@runs_app.command("list")
def runs_list(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON: bytes, seconds, fractions.")] = False,
) -> int:
    """List runs, suites, localizations and comparisons, the newest first."""
    from magsd_cli.tools.runs import list_lines, list_runs

    found = list_runs(context.obj)
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(one) for one in found], indent=2))
        return 0
    for line in list_lines(found, context.obj):
        print(line)
    return 0


@runs_app.command("show")
def runs_show(
    context: typer.Context,
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Default: the newest run.")] = None,
) -> int:
    """Show what a run is: recipe, data, figures, size, commands."""
    from magsd_cli.artifacts.runs import find_newest_run
    from magsd_cli.tools.runs import find_run, show_run

    path = find_newest_run(context.obj) if run is None else find_run(run, context.obj)
    for line in show_run(path, context.obj):
        print(line)
    return 0


@runs_app.command("compare")
def runs_compare(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="A", help="A run's name or folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The run to compare it with.")],
) -> int:
    """Compare two runs: recipe keys that differ, figures, intervals.

    `magsd report A B` writes a whole report of the comparison.
    """
    from magsd_cli.tools.runs import compare_two, find_run

    for line in compare_two(find_run(first, context.obj), find_run(second, context.obj)):
        print(line)
    return 0


@runs_app.command("rm")
def runs_rm(
    context: typer.Context,
    names: Annotated[list[Path], typer.Argument(metavar="RUN", help="Names or folders, as in `list`.")],
    yes: YesOption = False,
) -> int:
    """Remove runs for good, after asking. A run in use is refused."""
    from magsd_cli.tools.runs_clean import remove_run, runs_to_remove

    removals = runs_to_remove(names, context.obj)
    if not _agreed(removals, yes):
        return 0
    for removal in removals:
        remove_run(removal.paths[0])
    _say_freed(sum(removal.size for removal in removals))
    return 0


@runs_app.command("clean")
def runs_clean(
    context: typer.Context,
    caches: Annotated[
        bool, typer.Option("--caches/--no-caches", help="Also remove caches that no run here was made from.")
    ] = True,
    yes: YesOption = False,
) -> int:
    """Free disk space: training states of finished folds, unused caches.

    No result changes: `verify`, `report`, `predict` and `cv --resume` work as before. The caches that cv
    would take next stay.
    """
    from magsd_cli.tools.runs_clean import find_waste, remove_waste

    waste = find_waste(context.obj, caches)
    if not waste:
        say(f"{context.obj}: nothing to clean", bytes=0)
        return 0
    if _agreed(waste, yes):
        _say_freed(remove_waste(waste))
    return 0


def _agreed(removals: Sequence[Removal], yes: bool) -> bool:
    """Say what is going to be removed and how much that frees, and ask, unless `yes`.

    Raises `UsageError` where there is nobody to ask.
    """
    for removal in removals:
        say(f"{in_bytes(removal.size):>9}  {removal.what}", bytes=removal.size, level="warning")
    total = in_bytes(sum(removal.size for removal in removals))
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"this would free {total}; add --yes to remove it without asking")
    return typer.confirm(f"Remove this and free {total}?", err=True)


def _say_freed(size: int) -> None:
    say(f"freed {in_bytes(size)}", bytes=size)
