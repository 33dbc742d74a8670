"""The provenance of a run, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from magsd_cli.evaluation.facts import Facts, Run, precision_words
from magsd_cli.recipe import Recipe, resolved_keys
from magsd_cli.render.document import Block, Commands, Heading, Paragraph, not_available, text_table
from magsd_cli.settings import Lungs


def recipe_section(facts: Facts) -> list[Block]:
    """The recipe's keys that differ from their defaults, the paper's values."""
    recipe, usual = facts.results.run.recipe, dict(resolved_keys(Recipe()))
    rows = [
        (key, value, usual.get(key, "not there"))
        for key, value in resolved_keys(recipe)
        if key != "title" and usual.get(key) != value
    ]
    title = f'Recipe "{recipe.title}"' if recipe.title else "The recipe"
    blocks: list[Block] = [Heading("Recipe")]
    if not rows:
        return [*blocks, Paragraph(f"{title} has the default of every key, the paper's value.")]
    caption = f"{title}: every key that differs from its default, the paper's value where the paper has one."
    return [*blocks, text_table(caption, ("key", "this run", "default"), rows)]


def provenance_section(facts: Facts) -> list[Block]:
    """Versions, machine, times, hashes."""
    provenance = facts.results.provenance
    blocks: list[Block] = [Heading("Provenance")]
    if provenance is None:
        blocks.append(not_available("provenance.json is missing"))
    else:
        session = provenance["sessions"][-1]
        tool, machine = provenance["tool"], session["machine"]
        commit = f", commit {tool['git']}" if tool.get("git") else ""
        versions = ", ".join(f"{name} {number}" for name, number in session["versions"].items())
        rows = [
            ("tool", f"{tool['name']} {tool['version']}{commit}"),
            ("libraries", versions),
            *_first_weights(provenance.get("first_weights")),
            ("machine", f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"),
            *_precision(facts.results.run),
            ("devices", ", ".join(session["devices"]) + f", {session['threads']} threads a process"),
            ("seed", str(provenance["seed"])),
            ("began", str(provenance["start"])),
            ("ended", str(provenance["end"] or "not noted")),
            ("time spent", _duration(provenance["seconds"])),
            ("times started", str(len(provenance["sessions"]))),
        ]
        blocks.append(text_table("How the run was made.", ("what", "value"), rows))
    rows = list(facts.results.hashes.items())
    blocks.append(text_table("SHA-256 of what the figures rest on.", ("what", "SHA-256"), rows))
    return blocks


def _precision(run: Run) -> list[tuple[str, str]]:
    """Say what train.precision = "auto" came to; no row where the recipe names a precision itself."""
    return [] if run.precision is None else [("training precision (auto)", precision_words(run.precision))]


def _first_weights(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Say where the first weights came from; no row where they were random or the run did not note it."""
    if found is None:
        return []
    words = f"{found['file']} ({found['source']}), licence: {found['licence']}"
    return [("first weights", words), ("their SHA-256", found["sha256"] or "unknown")]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def reproduction_section(facts: Facts) -> list[Block]:
    """The command lines: prepare, what the run was started with, and its report."""
    provenance, run = facts.results.provenance, facts.results.run
    blocks: list[Block] = [Heading("How to reproduce")]
    sessions: Sequence[Mapping[str, Any]] = [] if provenance is None else provenance["sessions"]
    started = [shlex.join(["magsd", *session["command"][1:]]) for session in sessions[:1]]
    if not started:
        blocks.append(not_available("the command line of the run is in provenance.json, which is missing"))
    lines = [_prepare_line(run), *started, shlex.join(["magsd", "report", str(run.path)])]
    blocks.append(Commands(tuple(lines)))
    blocks.append(
        Paragraph(
            f"SOURCE is the folder of images; the cache must have the digest {run.cache_digest}. "
            "On a CPU with the same number of threads the weights are the same to the bit; on a GPU they "
            "differ a little."
        )
    )
    return blocks


def _prepare_line(run: Run) -> str:
    """The command line that prepares such a cache."""
    made = run.preprocessing
    words = ["magsd", "prepare", "SOURCE", "--size", str(made.size)]
    words += (
        ["--clip-limit", f"{made.clip_limit:g}", "--tiles", str(made.tiles)] if made.clahe else ["--no-clahe"]
    )
    if made.lungs != Lungs.none:  # the run has a copy of the network that cut its films
        words += ["--lungs", made.lungs.value, "--lung-network", str(run.path / "network.lungs")]
    return shlex.join(words)
