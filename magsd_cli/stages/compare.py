"""Several runs, or a suite, side by side: what `magsd report` says of them together."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from magsd_cli import __version__
from magsd_cli.artifacts.suites import SuiteRow, read_suite, suite_file
from magsd_cli.errors import ArtifactError
from magsd_cli.models.build import build_model
from magsd_cli.models.cost import multiply_adds, parameters
from magsd_cli.recipe import Recipe, load_recipe, recipe_names, recipe_paper, resolved_keys
from magsd_cli.reporting.comparison import (
    Answers,
    Contender,
    Cost,
    comparison_blocks,
    cost_table,
    picture_blocks,
)
from magsd_cli.reporting.contrast import contrast_blocks
from magsd_cli.reporting.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Bullets,
    Caution,
    Commands,
    Document,
    Heading,
    Paragraph,
)
from magsd_cli.reporting.performance import roc_curves
from magsd_cli.reporting.published import published_blocks
from magsd_cli.stages.evidence import Evidence


def rows_of_suites(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, list[SuiteRow]], list[Commands]]:
    """The runs that `paths` stand for, a suite's folder for those of its rows.

    Returns the runs, the suite's rows by run (under None's place, the suite's folder, those without a run)
    and the suites' command lines. Raises `ArtifactError` for a damaged suite, or one without any run.
    """
    found: list[Path] = []
    rows: dict[Path, list[SuiteRow]] = {}
    commands: list[Commands] = []
    for path in paths:
        if not suite_file(path).exists():
            found.append(path)
            continue
        inside, command = read_suite(path)
        commands.append(Commands((shlex.join(["magsd", *command[1:]]),)))
        for row in inside:
            place = path.parent / row.run if row.run else path
            rows.setdefault(place, []).append(row)
            if row.run:
                found.append(place)
    if paths and not found:
        raise ArtifactError(f"{paths[0]}: no row of this suite has a run yet; run the suite again")
    return list(dict.fromkeys(found)), rows, commands


def compare_runs(
    found: Sequence[Evidence], rows: Mapping[Path, Sequence[SuiteRow]], commands: Sequence[Commands]
) -> Document:
    """The comparison of several runs; `rows` are what they stand for in a suite.

    Raises `ArtifactError` for a run without metrics.
    """
    for evidence in found:
        if evidence.metrics is None:
            raise ArtifactError(f"{evidence.run.path}: {evidence.missing['metrics']}; leave the run out")
    named = papers_rows([evidence.run.recipe for evidence in found])
    runs = _told_apart(
        [
            _contender(evidence, rows.get(evidence.run.path, ()), own)
            for evidence, own in zip(found, named, strict=True)
        ]
    )
    folders = [str(evidence.run.path) for evidence in found]
    again = Commands((shlex.join(["magsd", "report", *folders]),))
    blocks: list[Block] = [
        *_opening(found, [*commands, *_typed([e for e in found if e.run.path not in rows])]),
        *_left_out([row for path, some in rows.items() for row in some if suite_file(path).exists()]),
        *comparison_blocks(runs),
        *published_blocks(runs),
        *contrast_blocks(runs),
        Heading("What they cost"),
        cost_table(runs),
        *picture_blocks(runs),
        Heading("How to reproduce"),
        again,
    ]
    return Document(f"Comparison of {len(found)} runs", tuple(blocks))


def _opening(found: Sequence[Evidence], commands: Sequence[Commands]) -> list[Block]:
    """Command line, hardware and budget come first: they say what the figures can mean."""
    recipes = [evidence.run.recipe for evidence in found]
    machines = {
        f"{session['machine']['cores']} cores ({session['machine']['processor']}), "
        f"{', '.join(session['devices'])}"
        for evidence in found
        for session in (evidence.provenance or {}).get("sessions", [])
    }
    budget = (
        f"Epochs {_span([r.train.epochs for r in recipes])}, images of "
        f"{_span([r.image.size for r in recipes])} px, "
        f"{_span([e.run.fold_count for e in found])} folds, first weights: "
        f"{', '.join(sorted({r.model.weights for r in recipes}))}. "
        f"Machine: {'; '.join(sorted(machines)) or 'not available'}."
    )
    epochs = min(recipe.train.epochs for recipe in recipes)
    opening: list[Block] = [
        Paragraph(f"{len(found)} runs side by side. Made by magsd {__version__}, with:"),
        *commands,
        Paragraph(budget),
        Caution(f"{NOT_FOR_DIAGNOSIS} A research tool; no medical device."),
    ]
    if epochs < 100:
        words = f"{epochs} epochs where the paper trains 100. The figures rank short trainings, not methods."
        opening.append(Caution(f"A reduced budget: {words}"))
    return opening


def _typed(found: Sequence[Evidence]) -> list[Commands]:
    """The command lines that made the runs, each once."""
    sessions = [session for evidence in found for session in (evidence.provenance or {}).get("sessions", [])]
    lines = dict.fromkeys(shlex.join(["magsd", *session["command"][1:]]) for session in sessions)
    return [Commands(tuple(lines))] if lines else []


def _span(values: Sequence[int]) -> str:
    return " and ".join(str(value) for value in sorted(set(values)))


def _left_out(rows: Sequence[SuiteRow]) -> list[Block]:
    if not rows:
        return []
    items = tuple(f"{row.recipe}: {row.problem or 'not begun'}" for row in rows)
    return [Paragraph("Rows without a run:"), Bullets(items)]


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
    """How many keys of `recipe` differ, summed over `others`."""
    this = dict(resolved_keys(recipe))
    return sum(value != this.get(key) for other in others for key, value in resolved_keys(other))


def _contender(evidence: Evidence, rows: Sequence[SuiteRow], own: Sequence[tuple[int, str]]) -> Contender:
    assert evidence.metrics is not None
    curve = answers = None
    folds = ""
    if evidence.predictions is not None and evidence.probabilities is not None:
        curves = roc_curves(evidence.truth(), evidence.probabilities, evidence.run.classes)
        curve = curves[-1] if curves else None
        table = evidence.predictions.reset_index(drop=True).sort_values("image_id")
        folds = hashlib.sha256(table[["image_id", "fold"]].to_numpy(np.str_).tobytes()).hexdigest()
        order = table.index.to_numpy()
        answers = Answers(
            tuple(table["image_id"]),
            evidence.truth()[order],
            evidence.probabilities[order],
            tuple(table["patient_id"]),
        )
    recipe = evidence.run.recipe
    named = [(row.table, row.row) for row in rows if row.table is not None and row.row is not None] or own
    return Contender(
        name=evidence.run.path.name,
        title=rows[0].title if rows else recipe.title or recipe.model.name,
        metrics=evidence.metrics,
        curve=curve,
        digest=evidence.run.cache_digest,
        folds=folds,
        answers=answers,
        rows=tuple(named),
        cost=_cost(evidence),
    )


def _cost(evidence: Evidence) -> Cost:
    run = evidence.run
    settings = run.recipe.model.model_copy(update={"weights": "none"})
    with torch.device("meta"):
        model = build_model(settings, len(run.classes), seed=0)
    seconds = [time for history in evidence.histories.values() for time in history.get("seconds", ())]
    return Cost(
        parameters=parameters(model),
        multiply_adds=multiply_adds(model, run.recipe.image.size),
        seconds=sum(seconds) if seconds else None,
        epochs=len(seconds),
    )


def _told_apart(runs: Sequence[Contender]) -> list[Contender]:
    """Runs of the same title get their names behind it."""
    titles = [run.title for run in runs]
    alike = {title for title in titles if titles.count(title) > 1}
    return [replace(run, title=f"{run.title} ({run.name})") if run.title in alike else run for run in runs]
