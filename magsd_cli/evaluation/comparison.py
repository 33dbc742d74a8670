"""Several runs, or a suite, as what a comparison needs of each: answers, curves, cost."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from magsd_cli.artifacts.suites import SuiteRow, read_suite, suite_file
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.cross_validation import RunMetrics, over_folds
from magsd_cli.evaluation.results import Results
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.models.build import build_model, multiply_adds, parameters
from magsd_cli.recipe import Recipe, load_recipe, recipe_names, recipe_paper, resolved_keys


@dataclass(frozen=True)
class Cost:
    """The cost of a network: parameters, multiply-adds of one image, seconds of training (None: unknown)."""

    parameters: int
    multiply_adds: int
    seconds: float | None
    epochs: int


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison: its metrics, the digest of its cache, its predictions in the order of image ids.

    `rows` are the (table, row) of the paper that it stands for, `recipe` what its suite calls its recipe.
    `repeats` are the runs, with a seed each, that it is the sum of; none where it is one run.
    """

    name: str
    title: str
    metrics: RunMetrics = field(repr=False)
    digest: str
    predictions: Predictions | None = field(default=None, repr=False)
    rows: tuple[tuple[int, str], ...] = ()
    cost: Cost | None = None
    seed: int = 0
    recipe: str = ""
    repeats: tuple[ComparedRun, ...] = field(default=(), repr=False)

    @property
    def runs(self) -> tuple[ComparedRun, ...]:
        """Its repeats, or itself alone."""
        return self.repeats or (self,)


def rows_of_suites(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, list[SuiteRow]], list[str]]:
    """The runs that `paths` stand for, a suite's folder for those of its rows.

    Returns the runs, the suite's rows by run (under None's place, the suite's folder, those without a run)
    and the suites' command lines. Raises `ArtifactError` for a damaged suite, or one without any run.
    """
    found: list[Path] = []
    rows: dict[Path, list[SuiteRow]] = {}
    commands: list[str] = []
    for path in paths:
        if not suite_file(path).exists():
            found.append(path)
            continue
        inside, command = read_suite(path)
        commands.append(shlex.join(["magsd", *command[1:]]))
        for row in inside:
            place = path.parent / row.run if row.run else path
            rows.setdefault(place, []).append(row)
            if row.run:
                found.append(place)
    if paths and not found:
        raise ArtifactError(f"{paths[0]}: no row of this suite has a run yet; run the suite again")
    return list(dict.fromkeys(found)), rows, commands


def by_repeats(found: Sequence[Results]) -> list[list[Results]]:
    """The runs that are repeats of one another, by rising seed: all is the same in them but seed and folds.

    A second run of the same seed is not a repeat: it begins a group of its own.
    """
    groups: list[tuple[tuple[object, ...], list[Results]]] = []
    for results in found:
        run = results.run
        recipe = run.recipe.model_copy(update={"seed": 0})
        same = (recipe.hash(), run.cache_digest, run.kind, run.fold_count, run.held_out)
        for key, group in groups:
            if key == same and all(run.recipe.seed != other.run.recipe.seed for other in group):
                group.append(results)
                break
        else:
            groups.append((same, [results]))
    return [sorted(group, key=lambda results: results.run.recipe.seed) for _, group in groups]


def papers_rows(recipes: Sequence[Recipe]) -> list[list[tuple[int, str]]]:
    """The (table, row) of the paper that each recipe stands for: its own, and those of equal recipes.

    A row of another table goes to one recipe alone: the one nearest to what else is compared in that table.
    """
    own = [{(recipe.paper.table, recipe.paper.row)} if recipe.paper else set() for recipe in recipes]
    found = [sorted(rows) for rows in own]
    groups: dict[str, set[tuple[int, str]]] = {}
    for name in recipe_names():
        paper = recipe_paper(name)
        if paper is not None:
            groups.setdefault(load_recipe(name).hash(), set()).add((paper.table, paper.row))
    for group in groups.values():
        named = [number for number, rows in enumerate(own) if rows & group]
        for table, row in sorted(group - set().union(*own)):
            rivals = [r for r, rows in zip(recipes, own, strict=True) if any(t == table for t, _ in rows)]
            if named and rivals:
                nearest = min(named, key=lambda number: _distance(recipes[number], rivals))
                found[nearest].append((table, row))
    return found


def _distance(recipe: Recipe, others: Sequence[Recipe]) -> int:
    """Count the keys of `recipe` that differ, summed over `others`."""
    this = dict(resolved_keys(recipe))
    return sum(value != this.get(key) for other in others for key, value in resolved_keys(other))


def compared_run(results: Results, rows: Sequence[SuiteRow], own: Sequence[tuple[int, str]]) -> ComparedRun:
    """One run as a comparison needs it; `rows` are what it stands for in a suite, `own` in the paper."""
    assert results.metrics is not None
    recipe = results.run.recipe
    named = [(row.table, row.row) for row in rows if row.table is not None and row.row is not None] or own
    return ComparedRun(
        name=results.run.path.name,
        title=rows[0].title if rows else recipe.title or recipe.model.name,
        metrics=results.metrics,
        digest=results.run.cache_digest,
        predictions=None if results.predictions is None else results.predictions.by_image(),
        rows=tuple(named),
        cost=_cost(results),
        seed=recipe.seed,
        recipe=rows[0].recipe if rows else "",
    )


def joined(repeats: Sequence[ComparedRun]) -> ComparedRun:
    """Repeats as one row of a comparison: means over all their folds, images and confusions added up."""
    first = repeats[0]
    if len(repeats) == 1:
        return first
    folds = [fold for run in repeats for fold in run.metrics["folds"]]
    mean, deviation = over_folds(folds)
    confusion = np.sum([run.metrics["pooled"]["confusion"] for run in repeats], axis=0)
    pooled = {**first.metrics["pooled"], "confusion": confusion.tolist()}
    known = all(run.metrics.get("patients_known", True) for run in repeats)
    metrics: RunMetrics = {**first.metrics, "folds": folds, "mean": mean, "std": deviation, "pooled": pooled}
    metrics["patients_known"] = known
    seeds = ", ".join(str(run.seed) for run in repeats)
    return replace(
        first,
        name=f"{first.name} and {len(repeats) - 1} more (seeds {seeds})",
        metrics=metrics,
        predictions=_all_predictions(repeats),
        cost=_mean_cost([run.cost for run in repeats if run.cost is not None]),
        repeats=tuple(repeats),
    )


def _all_predictions(repeats: Sequence[ComparedRun]) -> Predictions | None:
    """Those of all repeats one after another, an image as often as there are repeats."""
    found = [run.predictions for run in repeats if run.predictions is not None]
    if len(found) < len(repeats):
        return None
    return Predictions(
        image_ids=tuple(name for each in found for name in each.image_ids),
        truth=np.concatenate([each.truth for each in found]),
        probabilities=np.concatenate([each.probabilities for each in found]),
        folds=np.concatenate([each.tested_in() for each in found]),
        patients=tuple(name for each in found for name in each.patients),
        classes=found[0].classes,
    )


def _mean_cost(costs: Sequence[Cost]) -> Cost | None:
    """Return the mean cost of one repeat; its time is that of the repeats whose histories are there."""
    if not costs:
        return None
    timed = [cost for cost in costs if cost.seconds is not None]
    if not timed:
        return costs[0]
    return replace(timed[0], seconds=sum(cost.seconds or 0.0 for cost in timed) / len(timed))


def _cost(results: Results) -> Cost:
    run = results.run
    settings = run.recipe.model.model_copy(update={"weights": "none"})
    with torch.device("meta"):
        model = build_model(settings, len(run.classes), seed=0)
    seconds = [time for history in results.histories.values() for time in history.get("seconds", ())]
    return Cost(
        parameters=parameters(model),
        multiply_adds=multiply_adds(model, run.recipe.image.size),
        seconds=sum(seconds) if seconds else None,
        epochs=len(seconds),
    )


def with_distinct_titles(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Runs of the same title get their names behind it."""
    titles = [run.title for run in runs]
    alike = {title for title in titles if titles.count(title) > 1}
    return [replace(run, title=f"{run.title} ({run.name})") if run.title in alike else run for run in runs]
