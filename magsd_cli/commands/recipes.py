"""`magsd recipes`: list, show and copy the built-in recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.errors import UsageError

recipes_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, show and copy the recipes."
)


@recipes_app.command("list")
def recipes_list() -> int:
    """List the built-in recipes: the paper's row and its accuracies (%) on A, B and C; what each changes."""
    from magsd_cli.stages.catalogue import catalogue

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


@recipes_app.command("copy")
def recipes_copy(
    name: Annotated[str, typer.Argument(help="A built-in recipe's name.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
) -> int:
    """Copy a recipe to a file of yours, to change it there."""
    from magsd_cli.artifacts.files import write_text
    from magsd_cli.recipe import recipe_text

    if target.exists():
        raise UsageError(f"{target}: exists already; choose another name")
    write_text(target, recipe_text(name))
    print(target)
    return 0
