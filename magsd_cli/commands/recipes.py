"""`magsd recipes`: list, show and copy the built-in recipes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.errors import UsageError

recipes_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show, copy and check recipes."
)

MOST_CHANGES = 3  # more make the line unreadable; `magsd recipes show NAME` has them all


@recipes_app.command("list")
def recipes_list() -> int:
    """List the built-in recipes.

    With the paper's table and row, its accuracies (%) on A, B and C, and what each recipe changes.
    """
    for line in catalogue():
        print(line)
    return 0


@recipes_app.command("show")
def recipes_show(
    name: Annotated[str, typer.Argument(help="A built-in recipe's name or a TOML file.")] = "base",
    all_keys: Annotated[bool, typer.Option("--keys", help="Every key with its resolved value.")] = False,
) -> int:
    """Show a recipe as it stands, or every key with its resolved value."""
    from magsd_cli.recipe import load_recipe, recipe_text, resolved_keys

    if all_keys:
        for key, value in resolved_keys(load_recipe(name)):
            print(f"{key} = {value}")
    else:
        print(recipe_text(name), end="")
    return 0


@recipes_app.command("validate")
def recipes_validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Your TOML files.")],
) -> int:
    """Check recipe files: every key and value, with all problems at once."""
    from magsd_cli.console import say
    from magsd_cli.recipe import load_recipe

    bad = 0
    for file in files:
        if not file.is_file():
            say(f"magsd: error: recipe {file}: is missing; check the name", level="error", file=file)
            bad += 1
            continue
        try:
            recipe = load_recipe(str(file))
        except UsageError as error:
            say(f"magsd: error: {error}", level="error", file=file)
            bad += 1
        else:
            say(
                f"{file}: a valid recipe, {recipe.title or recipe.model.name} ({recipe.hash()[:8]})",
                file=file,
            )
    return UsageError.exit_code if bad else 0


@recipes_app.command("schema")
def recipes_schema() -> int:
    """Print the JSON Schema of recipes, for editors."""
    import json

    from magsd_cli.recipe import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))
    return 0


@recipes_app.command("copy")
def recipes_copy(
    name: Annotated[str, typer.Argument(help="A built-in recipe's name.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
) -> int:
    """Copy a recipe to a file, to change it there."""
    from magsd_cli.artifacts.files import write_text
    from magsd_cli.recipe import recipe_text

    if target.exists():
        raise UsageError(f"{target}: exists already; choose another name")
    write_text(target, recipe_text(name))
    print(target)
    return 0


def catalogue() -> Iterator[str]:
    """A line of headings, then one a recipe: its name, the paper's table and row, the published accuracies
    in percent on data sets A, B and C, its title, and what it changes.
    """
    from magsd_cli.recipe import recipe_changes, recipe_names, recipe_paper, recipe_title
    from magsd_cli.report.paper_tables import SETS, published_figures

    yield f"{'recipe':26} {'table, row of the paper':30} {'accuracy A / B / C':22} title; what it changes"
    figures = published_figures()
    for name in recipe_names():
        paper = recipe_paper(name)
        place = accuracies = ""
        if paper is not None:
            place = f"{paper.table}, {paper.row}"
            known = [figures.get((paper.table, paper.row, where, "accuracy")) for where in SETS.values()]
            accuracies = " / ".join(f"{100 * figure.mean:.2f}" if figure else "-" for figure in known)
        yield f"{name:26} {place:30} {accuracies:22} {recipe_title(name)}; {_few(recipe_changes(name))}"


def _few(changes: list[str]) -> str:
    shown = ", ".join(changes[:MOST_CHANGES])
    more = len(changes) - MOST_CHANGES
    return (f"{shown} and {more} more" if more > 0 else shown) or "nothing"
