"""`magsd report`: what a run left, as Markdown, one HTML file, and pictures; or several runs side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from magsd_cli.artifacts.files import lock, write_bytes, write_hashed
from magsd_cli.artifacts.runs import find_newest_run, open_run
from magsd_cli.console import say
from magsd_cli.errors import UsageError
from magsd_cli.evaluation.attention import gather_cases
from magsd_cli.evaluation.comparison import rows_of_suites
from magsd_cli.evaluation.facts import majority_class
from magsd_cli.evaluation.results import Evidence, gather, read_cache, stored_operating
from magsd_cli.evaluation.shortcuts import audit_shortcuts
from magsd_cli.recipe import load_recipe
from magsd_cli.render.document import (
    Block,
    Document,
    Heading,
    not_available,
)
from magsd_cli.render.html import render_html
from magsd_cli.render.markdown import render_markdown
from magsd_cli.report.comparison import compare_runs
from magsd_cli.report.model_card import describe_card
from magsd_cli.report.sections.attention import attention_section
from magsd_cli.report.sections.calibration import calibration_section
from magsd_cli.report.sections.data_flow import data_flow_section
from magsd_cli.report.sections.external import external_section
from magsd_cli.report.sections.localization import localization_section
from magsd_cli.report.sections.operating_point import operating_sections
from magsd_cli.report.sections.performance import performance_sections, training_section
from magsd_cli.report.sections.provenance import (
    prepare_line,
    provenance_section,
    recipe_section,
    reproduction_section,
)
from magsd_cli.report.sections.shortcuts import audit_section
from magsd_cli.report.sections.subgroups import held_out_section, subgroup_section
from magsd_cli.report.sections.summary import (
    CARD,
    opening,
    opening_cautions,
    system_name,
)

MARK = "<!-- written by magsd report -->"


COMPARISONS = "comparisons"


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
        _write_text(describe_card(found[0], opening_cautions(document)), folder / CARD, place != folder)
        return path


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
    shown = None if cache is None or evidence.predictions is None else gather_cases(evidence, cache)
    blocks: list[Block] = [*opening(evidence, audit), *_results(evidence, prevalence)]
    if external is not None:
        point = stored_operating(evidence)
        decision = point.decision if point else None
        model = evidence.hashes.get("networks that predicted", "")
        blocks += external_section(external, run.classes, decision, truth, model)
    blocks += audit_section(audit, run.classes, evidence.missing.get("cache", ""))
    blocks += attention_section(evidence, shown)
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
        evidence.provenance, prepare_line(evidence), str(run.path), run.cache_digest
    )
    return Document(f"{system_name(evidence)} on {len(run.classes)} classes: {run.path.name}", tuple(blocks))


def _results(evidence: Evidence, prevalence: float | None) -> list[Block]:
    reasons = [evidence.missing[name] for name in ("metrics", "predictions") if name in evidence.missing]
    found = evidence.predictions
    if evidence.metrics is None or found is None:
        return [Heading("Results"), not_available("; ".join(reasons))]
    counts = {row["class"]: row["n"] for row in evidence.metrics["pooled"]["per_class"]}
    blocks = performance_sections(evidence.metrics, found, majority_class(counts))
    if evidence.run.held_out:
        blocks += held_out_section(evidence.run.held_out, found)
    blocks += calibration_section(found)
    blocks += operating_sections(evidence, prevalence)
    if evidence.samples is not None:
        about = evidence.samples.set_index("image_id").reindex(list(found.image_ids))
        blocks += subgroup_section(about, found)
    return blocks


def _training(evidence: Evidence) -> list[Block]:
    if not evidence.histories:
        return [Heading("Training curves"), not_available("no fold has a history.parquet")]
    return training_section(evidence.histories)
