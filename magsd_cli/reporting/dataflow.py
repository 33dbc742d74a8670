"""From files to figures: what was found, what was left out and why, what was used, from where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from magsd_cli.reporting.document import Block, Heading, Table

if TYPE_CHECKING:
    import pandas as pd

REASONS = {
    "unlisted": "not listed in metadata.csv",
    "not_found": "listed, but not there",
    "not_chosen": "more than --per-class asked for",
    "left_out": "label left out by --map",
    "unlabelled": "no label",
}


def data_flow_section(samples: pd.DataFrame, classes: Sequence[str], tested: int) -> list[Block]:
    """The tables of the data's way, from the samples table. `tested`: images with a prediction."""
    return [Heading("Data"), flow_table(samples, classes, tested), source_table(samples, classes)]


def flow_table(samples: pd.DataFrame, classes: Sequence[str], tested: int) -> Table:
    """Found -> left out or unreadable, by reason -> used; columns are the classes."""
    groups = [*classes, *sorted(set(samples["label"]) - set(classes))]
    names = [name or "no label" for name in groups]
    rows = [_row("files found", samples, groups)]
    for status, words in (("excluded", "left out"), ("error", "unreadable")):
        of_status = samples[samples["status"] == status]
        for code in sorted(of_status["error_code"].unique()):
            reason = REASONS.get(code, code.replace("_", " "))
            rows.append(_row(f"- {words}: {reason}", of_status[of_status["error_code"] == code], groups))
    used = samples[samples["status"] == "ok"]
    rows.append(_row("used", used, groups))
    warned = used[used["warnings"].map(len) > 0]
    if len(warned):
        rows.append(_row("of these, with a note on how they were read", warned, groups))
    patients = [used[used["label"] == g]["patient_id"] for g in groups]
    known = [str(len(set(p) - {""})) for p in (used["patient_id"], *patients)]
    rows.append(("patients known by an id", *known))
    caption = f"From files to figures. {tested} images were tested, each by networks that never saw it."
    return Table(caption, ("", "all", *names), tuple(rows))


def _row(name: str, rows: pd.DataFrame, groups: Sequence[str]) -> tuple[str, ...]:
    return (name, str(len(rows)), *(str(int((rows["label"] == group).sum())) for group in groups))


def source_table(samples: pd.DataFrame, classes: Sequence[str]) -> Table:
    """Used images by source and class."""
    used = samples[samples["status"] == "ok"]
    rows = []
    for source in sorted(used["source"].unique()):
        of_source = used[used["source"] == source]
        counts = (str(int((of_source["label"] == name).sum())) for name in classes)
        rows.append((source or "source unknown", str(len(of_source)), *counts))
    return Table("Used images by source and class.", ("source", "all", *classes), tuple(rows))
