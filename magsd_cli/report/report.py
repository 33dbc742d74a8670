"""`magsd report`: what a run left, as Markdown, one HTML file, and pictures; or several runs side by side."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from magsd_cli.artifacts.files import lock, write_bytes, write_hashed
from magsd_cli.artifacts.runs import find_newest_run, open_run
from magsd_cli.console import counted, noted, say
from magsd_cli.errors import UsageError
from magsd_cli.evaluation.comparison import rows_of_suites
from magsd_cli.evaluation.facts import Facts, gather_facts
from magsd_cli.evaluation.results import read_results
from magsd_cli.render.document import Block, Document
from magsd_cli.render.html import render_html
from magsd_cli.render.markdown import render_markdown
from magsd_cli.report.comparison import compare_runs
from magsd_cli.report.model_card import card_section
from magsd_cli.report.sections.abstention import abstention_section
from magsd_cli.report.sections.attention import attention_section, gallery_section
from magsd_cli.report.sections.calibration import calibration_section
from magsd_cli.report.sections.data_flow import data_flow_section
from magsd_cli.report.sections.external import external_section
from magsd_cli.report.sections.localization import localization_section
from magsd_cli.report.sections.net_benefit import net_benefit_section
from magsd_cli.report.sections.operating_point import operating_point_section
from magsd_cli.report.sections.performance import performance_section, training_section
from magsd_cli.report.sections.provenance import provenance_section, recipe_section, reproduction_section
from magsd_cli.report.sections.shortcuts import shortcut_section
from magsd_cli.report.sections.subgroups import held_out_section, subgroup_section
from magsd_cli.report.sections.summary import summary_section, system_name
from magsd_cli.settings import HTML_MARK, REPORT_MARK

COMPARISONS = "comparisons"
ALONE = (".md", ".html")  # of a report that is a file and no folder

#: The report of a run, in reading order.
SECTIONS: tuple[Callable[[Facts], list[Block]], ...] = (
    summary_section,
    performance_section,
    held_out_section,
    calibration_section,
    operating_point_section,
    net_benefit_section,
    abstention_section,
    subgroup_section,
    external_section,
    shortcut_section,
    attention_section,
    localization_section,
    training_section,
    data_flow_section,
    recipe_section,
    provenance_section,
    reproduction_section,
    card_section,
    gallery_section,  # last, for it is long, on paper above all
)


def report(
    *,
    runs_given: Sequence[Path],
    runs: Path,
    out: Path | None = None,
    external: Path | None = None,
    truth: Path | None = None,
    prevalence: float | None = None,
    reference: str | None = None,
) -> Path:
    """Write the report of one run (None: the newest), or a comparison of several.

    That is report.md, report.html and figures/, and for one run model_card.md. `out`: the folder (default:
    the run's own; for several ``runs/comparisons/<hash>``), or a file.md, whose pictures then lie in a folder
    of its name, or a file.html, which holds all. A suite's folder stands for its runs. Returns the path of
    report.md, or of `out` where it is a file. `external`: a CSV of predictions on outside data, with labels,
    or a table that predict made, with its labels in the CSV `truth`. `prevalence` in 0..1: how common the
    class that is decided about is where the model is to be used. `reference`: the row that the others of a
    comparison are tested against (None: the best).

    Raises `ArtifactError` for runs that are unfinished, damaged or contradict themselves, and `UsageError`
    for a bad `external`, or when the folder holds a report.md that this command did not write.
    """
    given = list(dict.fromkeys(Path(path) for path in runs_given))
    if not given:
        given = [find_newest_run(runs)]
        say(f"report: {given[0]} (the newest run; choose another one with `magsd report RUN`)", run=given[0])
    paths, rows, commands = rows_of_suites(given)
    several = len(paths) > 1 or paths != given
    if not several and reference is not None:
        raise UsageError(f"--reference {reference}: goes with several runs, or a suite; name them all")
    if several and prevalence is not None:
        raise UsageError("--prevalence: goes with one run; name that run alone")
    if truth is not None and external is None:
        raise UsageError(f"--truth {truth}: goes with --external, the predictions whose labels it has")
    if several and external is not None:
        raise UsageError(f"--external {external}: goes with one run; name that run alone")
    if not several:
        open_run(paths[0])  # before a lock file is left in a folder that is no run
    place = out or (given[0] if len(given) == 1 else runs / COMPARISONS / _short_hash(paths))
    folder = place.parent if place.suffix in ALONE else place
    with lock(folder / ".report.lock"):
        found = [read_results(path) for path in paths]
        if several:
            with noted(f"report: comparing {counted(len(paths), 'run')}"):
                return _write(compare_runs(found, rows, commands, reference), place)
        with noted(f"report: working out and drawing the figures of {paths[0]}"):
            facts = gather_facts(found[0], runs, external, truth, prevalence)
            return _write(describe_run(facts), place)


def _short_hash(paths: Sequence[Path]) -> str:
    return hashlib.sha256(b"\n".join(sorted(os.fsencode(path.resolve()) for path in paths))).hexdigest()[:8]


def _write(document: Document, place: Path) -> Path:
    """Write the report's own files into folder `place`, nothing else; or Markdown or HTML to a file.

    HTML has the annexes inside; beside Markdown they are files.
    """
    if place.suffix == ".html":
        _check_own(place, HTML_MARK)
        write_bytes(place, render_html(document).encode("utf-8", "backslashreplace"))
        return place
    alone = place.suffix == ".md"
    path = place if alone else place / "report.md"
    _check_own(path)
    figures = place.stem if alone else "figures"
    write = write_bytes if alone else write_hashed  # in a run, `magsd verify` checks them
    for figure in document.figures():
        write(path.parent / figures / f"{figure.name}.png", figure.drawing.png)
    if not alone:
        write_hashed(place / "report.html", render_html(document).encode("utf-8", "backslashreplace"))
    _write_text(document, path, alone, figures)
    for annex in document.annexes():
        _write_text(annex.document, path.with_name(annex.file), alone)
    return path


def _write_text(document: Document, path: Path, alone: bool, figures: str = "figures") -> None:
    _check_own(path)
    write = write_bytes if alone else write_hashed
    write(path, f"{render_markdown(document, figures)}\n{REPORT_MARK}\n".encode("utf-8", "backslashreplace"))


def _check_own(path: Path, mark: str = REPORT_MARK) -> None:
    """Raise `UsageError` where `path` is a file that this command did not write."""
    if path.is_dir():
        raise UsageError(f"--out {path}: is a folder; name a file in it, or a folder without an ending")
    if path.exists() and mark not in path.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(f"{path}: was not written by `magsd report`; choose another place with --out")


def describe_run(facts: Facts) -> Document:
    """The report of one run."""
    run = facts.results.run
    blocks = [block for section in SECTIONS for block in section(facts)]
    return Document(f"{system_name(run)} on {len(run.classes)} classes: {run.path.name}", tuple(blocks))
