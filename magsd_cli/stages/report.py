"""`magsd report`: what a run left, as Markdown, one HTML file, and pictures; or several runs side by side."""

from __future__ import annotations

import hashlib
import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from magsd_cli import __version__
from magsd_cli.artifacts.files import lock, write_bytes, write_hashed
from magsd_cli.artifacts.runs import find_newest_run, open_run
from magsd_cli.console import say
from magsd_cli.errors import UsageError
from magsd_cli.recipe import load_recipe
from magsd_cli.reporting.audited import Audit, audit_section, shortcut_cautions
from magsd_cli.reporting.calibrated import calibration_section
from magsd_cli.reporting.cautions import (
    Grouping,
    baseline_caution,
    grouping_cautions,
    size_caution,
    source_caution,
)
from magsd_cli.reporting.dataflow import data_flow_section
from magsd_cli.reporting.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Caution,
    Document,
    Heading,
    Link,
    Paragraph,
    mean_and_deviation,
    not_available,
)
from magsd_cli.reporting.html import render_html
from magsd_cli.reporting.markdown import render_markdown
from magsd_cli.reporting.origin import provenance_section, recipe_section, reproduction_section
from magsd_cli.reporting.performance import performance_sections, training_section
from magsd_cli.reporting.subgroups import held_out_section, subgroup_section
from magsd_cli.stages.card import describe_card
from magsd_cli.stages.compare import compare_runs, rows_of_suites
from magsd_cli.stages.evidence import Evidence, gather, read_cache
from magsd_cli.stages.operating import operating_sections, stored_operating
from magsd_cli.stages.outside import external_section
from magsd_cli.stages.shortcuts import audit_shortcuts
from magsd_cli.stages.showcase import attention_section, localization_section

MARK = "<!-- written by magsd report -->"
COMPARISONS = "comparisons"
CARD = "model_card.md"


def report(
    *,
    runs_given: Sequence[Path],
    runs: Path,
    out: Path | None = None,
    external: Path | None = None,
    truth: Path | None = None,
    prevalence: float | None = None,
) -> Path:
    """Write report.md, report.html and figures/ for one run (None: the newest), or a comparison of several.

    `out`: the folder (default: the run's own; for several ``runs/comparisons/<hash>``), or a file.md, whose
    pictures then lie in a folder of its name. A suite's folder stands for its runs. Returns the path of
    report.md. `external`: a CSV of predictions on outside data, with labels, or a table that predict
    made, with its labels in the CSV `truth`. `prevalence` in 0..1: how common
    the class that is decided about is where the model is to be used.

    Raises `ArtifactError` for runs that are unfinished, damaged or contradict themselves, and `UsageError`
    for a bad `external`, or when the folder holds a report.md that this command did not write.
    """
    given = list(dict.fromkeys(Path(path) for path in runs_given))
    if not given:
        given = [find_newest_run(runs)]
        say(f"report: {given[0]} (the newest run; name another one behind `magsd report`)")
    paths, rows, commands = rows_of_suites(given)
    several = len(paths) > 1 or paths != given
    if several and prevalence is not None:
        raise UsageError("--prevalence: goes with one run; name that run alone")
    if truth is not None and external is None:
        raise UsageError(f"--truth {truth}: goes with --external, the predictions whose labels it has")
    if several and external is not None:
        raise UsageError(f"--external {external}: goes with one run; name that run alone")
    if not several:
        open_run(paths[0])  # before a lock file is left in a folder that is no run
    place = out or (given[0] if len(given) == 1 else runs / COMPARISONS / _short_hash(paths))
    folder = place.parent if place.suffix == ".md" else place
    with lock(folder / ".report.lock"):
        found = [gather(path) for path in paths]
        if several:
            return _write(compare_runs(found, rows, commands), place)
        document = describe_run(found[0], runs, external, prevalence, truth)
        path = _write(document, place)
        _write_text(describe_card(found[0], _warnings(document)), folder / CARD, place != folder)
        return path


def _warnings(document: Document) -> list[Caution]:
    """What the report warns of before its figures, but for its first words."""
    opening = itertools.takewhile(lambda block: not isinstance(block, Heading), document.blocks)
    return [block for block in opening if isinstance(block, Caution)][1:]


def _short_hash(paths: Sequence[Path]) -> str:
    return hashlib.sha256("\n".join(sorted(str(path.resolve()) for path in paths)).encode()).hexdigest()[:8]


def _write(document: Document, place: Path) -> Path:
    """Write the report's own files into folder `place`, nothing else; or Markdown to ``place.md``."""
    alone = place.suffix == ".md"
    path = place if alone else place / "report.md"
    _check_own(path)
    figures = place.stem if alone else "figures"
    write = write_bytes if alone else write_hashed  # in a run, `magsd verify` checks them
    for figure in document.figures():
        write(path.parent / figures / f"{figure.name}.png", figure.png)
    if not alone:
        write_hashed(place / "report.html", render_html(document).encode())
    _write_text(document, path, alone, figures)
    return path


def _write_text(document: Document, path: Path, alone: bool, figures: str = "figures") -> None:
    _check_own(path)
    write = write_bytes if alone else write_hashed
    write(path, f"{render_markdown(document, figures)}\n{MARK}\n".encode())


def _check_own(path: Path) -> None:
    """Raise `UsageError` where `path` is a file that this command did not write."""
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(f"{path}: was not written by `magsd report`; choose another place with --out")


def describe_run(
    evidence: Evidence,
    runs: Path,
    external: Path | None = None,
    prevalence: float | None = None,
    truth: Path | None = None,
) -> Document:
    """The report of one run."""
    run = evidence.run
    cache = read_cache(evidence)
    audit = audit_shortcuts(evidence, cache)
    blocks: list[Block] = [*_opening(evidence, audit), *_results(evidence, prevalence)]
    if external is not None:
        decision = (stored_operating(evidence) or {}).get("decision")
        model = evidence.hashes.get("networks that predicted", "")
        blocks += external_section(external, run.classes, decision, truth, model)
    blocks += audit_section(audit, run.classes, evidence.missing.get("cache", ""))
    blocks += attention_section(evidence, cache)
    blocks += localization_section(evidence, {runs, run.path.parent})
    blocks += _training(evidence)
    tested = 0 if evidence.predictions is None else len(evidence.predictions)
    if evidence.samples is None:
        blocks += [Heading("Data"), not_available(evidence.missing["samples"])]
    else:
        blocks += data_flow_section(evidence.samples, run.classes, tested)
    blocks += recipe_section(run.recipe, load_recipe("base"))
    blocks += provenance_section(evidence.provenance, evidence.hashes)
    blocks += reproduction_section(
        evidence.provenance, _prepare_line(evidence), str(run.path), run.cache_digest
    )
    return Document(f"{_system(evidence)} on {len(run.classes)} classes: {run.path.name}", tuple(blocks))


def _system(evidence: Evidence) -> str:
    model = evidence.run.recipe.model
    return f"MAG-SD ({model.backbone})" if model.name == "magsd" else model.name


def _prepare_line(evidence: Evidence) -> str:
    run = evidence.run
    words = ["magsd", "prepare", "SOURCE", "--size", str(run.size)]
    words += (
        ["--clip-limit", f"{run.clip_limit:g}", "--tiles", str(run.tiles)] if run.clahe else ["--no-clahe"]
    )
    return shlex.join(words)


def _opening(evidence: Evidence, audit: Audit) -> list[Block]:
    """What this is, what it is not, and every warning, before any figure."""
    run = evidence.run
    tested = (
        "leave-one-source-out cross-validation: the images of each source are tested by a network that was "
        "trained on the other sources alone"
        if run.held_out
        else f"{run.fold_count}-fold cross-validation: each image is tested once, by a network that never "
        "saw it"
        if run.kind == "cv"
        else f"one training, tested on the {run.fold_count}th part of the images that was held out"
    )
    words = (
        f"This report describes how well a neural network, {_system(evidence)}, tells "
        f"{', '.join(run.classes)} apart on chest X-rays. It rests on {tested}. Made by magsd {__version__}."
    )
    blocks: list[Block] = [
        Paragraph(words),
        Caution(f"{NOT_FOR_DIAGNOSIS} A research tool; no medical device."),
    ]
    blocks += [*cautions(evidence), *shortcut_cautions(audit.by_class, run.classes)]
    card = Link("What it is for, with the items of TRIPOD+AI and CLAIM:", CARD)
    return [*blocks, Heading("Summary"), Paragraph(_headline(evidence)), card]


def cautions(evidence: Evidence) -> list[Caution]:
    """Everything that puts the figures of a run in doubt."""
    found: list[Caution | None] = []
    table, samples, metrics = evidence.predictions, evidence.samples, evidence.metrics
    if table is not None:
        found += grouping_cautions(_grouping(table))
    elif not evidence.run.patients_known:
        found += grouping_cautions(Grouping(1, 1, 0))
    if table is not None and samples is not None:
        sources = samples.set_index("image_id")["source"].reindex(table["image_id"]).fillna("")
        found.append(source_caution(list(table["label"]), list(sources)))
    if metrics is not None:
        counts = {row["class"]: row["n"] for row in metrics["pooled"]["per_class"]}
        name = _majority(counts)
        share = counts[name] / max(1, sum(counts.values()))
        found += [baseline_caution(metrics["pooled"]["accuracy"], share, name), size_caution(counts)]
    return [caution for caution in found if caution is not None]


def _grouping(table: pd.DataFrame) -> Grouping:
    known = table[table["patient_id"] != ""]
    folds = known.groupby("patient_id")["fold"].nunique()
    return Grouping(len(table) - len(known), len(table), int((folds > 1).sum()))


def _majority(counts: dict[str, int]) -> str:
    return max(counts, key=lambda name: counts[name])


def _headline(evidence: Evidence) -> str:
    metrics, table = evidence.metrics, evidence.predictions
    if metrics is None:
        return f"Figures are not available: {evidence.missing['metrics']}."
    pooled, mean, deviation = metrics["pooled"], metrics["mean"], metrics["std"]
    counts = {row["class"]: row["n"] for row in pooled["per_class"]}
    name = _majority(counts)
    patients = 0 if table is None else table.loc[table["patient_id"] != "", "patient_id"].nunique()
    of_patients = f" of {patients} patients" if patients else ""
    images = ", ".join(f"{key} {count}" for key, count in counts.items())
    return (
        f"{pooled['n']} images{of_patients} ({images}) were tested. Called right: "
        f"{mean_and_deviation(mean['accuracy'], deviation['accuracy'])} % (mean ± standard deviation over "
        f"{len(metrics['folds'])} folds; calling every image {name} would reach "
        f"{100 * counts[name] / max(1, pooled['n']):.2f} %). Area under the ROC curve, mean over the "
        f"classes: {mean_and_deviation(mean['auc'], deviation['auc'])} %."
    )


def _results(evidence: Evidence, prevalence: float | None) -> list[Block]:
    reasons = [evidence.missing[name] for name in ("metrics", "predictions") if name in evidence.missing]
    table, probabilities = evidence.predictions, evidence.probabilities
    if evidence.metrics is None or probabilities is None or table is None:
        return [Heading("Results"), not_available("; ".join(reasons))]
    counts = {row["class"]: row["n"] for row in evidence.metrics["pooled"]["per_class"]}
    patients = list(table["patient_id"])
    truth = evidence.truth()
    blocks = performance_sections(evidence.metrics, truth, probabilities, patients, _majority(counts))
    if evidence.run.held_out:
        folds, classes = table["fold"].to_numpy(np.int64), evidence.run.classes
        blocks += held_out_section(evidence.run.held_out, folds, truth, probabilities, patients, classes)
    blocks += calibration_section(truth, probabilities, list(table["fold"]), patients)
    blocks += operating_sections(evidence, prevalence)
    if evidence.samples is not None:
        about = evidence.samples.set_index("image_id").reindex(table["image_id"])
        blocks += subgroup_section(about, truth, probabilities, patients, evidence.run.classes)
    return blocks


def _training(evidence: Evidence) -> list[Block]:
    if not evidence.histories:
        return [Heading("Training curves"), not_available("no fold has a history.parquet")]
    return training_section(evidence.histories)
