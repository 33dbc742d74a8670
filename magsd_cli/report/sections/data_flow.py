"""The way from files to figures: what was found, left out and why, used, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from magsd_cli.evaluation.facts import Facts
from magsd_cli.render.document import Block, Heading, Table, not_available

if TYPE_CHECKING:
    import pandas as pd


#: What each code of a samples table says to a reader; docs/data.md has them in full.
REASONS = {
    "conflicting_labels": "the same picture under different labels",
    "left_out": "its label is not asked for",
    "no_box": "no box says where its disease is",
    "not_chosen": "more images of its class than were asked for",
    "other_body_part": "not a chest",
    "other_finding": "another finding than the classes",
    "unlisted": "there, but not listed",
    "not_found": "listed, but not there",
    "lateral_view": "a lateral view",
    "for_processing": "raw detector data, not for viewing",
    "ct_slice": "a slice of a CT or MR, not a radiograph",
    "not_xray": "another modality than radiography",
    "not_a_file": "a folder, pipe or device",
    "link_loop": "a circle of links",
    "unreadable": "no permission to read it",
    "empty": "an empty file",
    "not_image": "not an image",
    "unsupported_format": "a format that is not read",
    "unsupported_depth": "more than 16 bits a sample",
    "missing_codec": "its compression has no decoder here",
    "truncated": "ends too early",
    "corrupt": "damaged",
    "too_large": "too large to be decoded safely",
    "too_small": "too small to be a radiograph",
    "multi_frame": "several frames in one file",
    "cmyk": "four ink colours",
    "float_image": "floating-point samples without a range",
    "not_grayscale": "a colour picture",
    "constant": "one gray value everywhere",
    "mask": "two gray values: a mask or a drawing",
    "no_pixels": "a DICOM file without pixels",
    "decoder_crashed": "its decoder crashed",
    "decoder_timeout": "its decoder did not end",
}


def data_flow_section(facts: Facts) -> list[Block]:
    """The tables of the data's way, from the samples table."""
    samples, classes = facts.results.samples, facts.results.run.classes
    if samples is None:
        return [Heading("Data"), not_available(facts.results.missing["samples"])]
    tested = 0 if facts.predictions is None else len(facts.predictions)
    return [Heading("Data"), flow_table(samples, classes, tested), source_table(samples, classes)]


def flow_table(samples: pd.DataFrame, classes: Sequence[str], tested: int) -> Table:
    """Found -> left out or of no use, by reason -> used; columns are the classes."""
    groups = [*classes, *sorted(set(samples["label"]) - set(classes))]
    names = [name or "no label" for name in groups]
    rows = [_row("files found", samples, groups)]
    for status, words in (("excluded", "left out"), ("error", "cannot be used")):
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
