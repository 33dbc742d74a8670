"""Data recipes (``recipes/data/*.toml``): sources, their labels as our classes, counts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from magsd_cli.data.layouts import Listing, Record
from magsd_cli.errors import UsageError
from magsd_cli.recipe import recipe_text


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceRecipe(_Section):
    """One archive: how it is laid out, its label -> our class, and whether only images with boxes count."""

    layout: str
    labels: dict[str, str] = Field(min_length=1)
    boxes: str | None = None


class DatasetRecipe(_Section):
    """A data set of the paper: images per class, sources by name, and the seed that draws the images."""

    title: str
    seed: int = Field(0, ge=0)
    classes: dict[str, int] = Field(min_length=1)
    sources: dict[str, SourceRecipe] = Field(min_length=1)


def load_dataset_recipe(name: str) -> DatasetRecipe:
    """Read a data recipe by name ("data/a") or path. Raises `UsageError`."""
    try:
        recipe = DatasetRecipe.model_validate(tomllib.loads(recipe_text(name)))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise UsageError(f"--recipe {name}: not a data recipe ({problems}); data/a is one") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--recipe {name}: cannot be read as TOML ({error}); fix the file") from error
    given = {label for source in recipe.sources.values() for label in source.labels.values()}
    if given != set(recipe.classes):
        odd = ", ".join(sorted(given ^ set(recipe.classes)))
        raise UsageError(f"--recipe {name}: {odd}: must stand under classes and come from a source")
    return recipe


def named_sources(name: str, recipe: DatasetRecipe, given: Sequence[str]) -> dict[str, Path]:
    """The path of each source of the recipe, from NAME=PATH pairs. Raises `UsageError` if one is missing."""
    paths: dict[str, Path] = {}
    for pair in given:
        source, equals, path = pair.partition("=")
        if not equals or source not in recipe.sources:
            known = ", ".join(recipe.sources)
            raise UsageError(f"--source {pair}: write NAME=PATH; {name} has the sources {known}")
        paths[source] = Path(path)
    missing = " ".join(f"--source {source}=PATH" for source in recipe.sources if source not in paths)
    if missing:
        raise UsageError(f"--recipe {name}: say where its archives are: {missing}")
    return paths


def select(listing: Listing, source: SourceRecipe) -> Listing:
    """The listing with the recipe's classes as labels; what the recipe does not ask for is left out."""
    boxed: set[str] | None = None
    if source.boxes is not None:
        boxes = listing.boxes
        boxed = set() if boxes is None else set(boxes.loc[boxes["label"] == source.boxes, "image_id"])
    return replace(listing, records=[_select(record, source.labels, boxed) for record in listing.records])


def _select(record: Record, labels: Mapping[str, str], boxed: set[str] | None) -> Record:
    label = labels.get(record.label or "")
    problem = record.problem
    if label is None:
        problem = problem or ("left_out", "its label is not a class of this data set")
    elif boxed is not None and record.image_id not in boxed:
        problem = problem or ("no_box", "no box marks its disease")
    return replace(record, label=label or record.label, problem=problem)


def compare_counts(recipe: DatasetRecipe, used: Mapping[str, int]) -> str:
    """Compare the counts used with the paper's, in words: "COVID-19 12 of 90, Pneumonia 168 of 168"."""
    return ", ".join(f"{label} {used.get(label, 0)} of {count}" for label, count in recipe.classes.items())
