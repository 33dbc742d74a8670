"""`magsd recipes list`: the built-in recipes beside the rows of the paper that they name."""

from __future__ import annotations

from collections.abc import Iterator

from magsd_cli.recipe import recipe_changes, recipe_names, recipe_paper, recipe_title
from magsd_cli.reporting.paper_tables import SETS, published_figures

MOST_CHANGES = 3  # more make the line unreadable; `magsd recipes show NAME` has them all


def catalogue() -> Iterator[str]:
    """A line of headings, then one a recipe: its name, the paper's table and row, the published accuracies
    in percent on data sets A, B and C, its title, and what it changes.
    """
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
