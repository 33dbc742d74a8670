"""The result of reading a layout: a list of images with the facts about each, before any is decoded."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from magsd_cli.data.folders.clutter import is_clutter
from magsd_cli.data.folders.tree import IMAGE_SUFFIXES, Tree, in_words, list_files, walk
from magsd_cli.data.missing_words import is_missing

if TYPE_CHECKING:
    import pandas as pd

    Boxes = pd.DataFrame
else:
    Boxes = object


__all__ = [
    "IMAGE_SUFFIXES",
    "VIEWS",
    "Boxes",
    "Listing",
    "Outlines",
    "Record",
    "class_name",
    "count_notes",
    "count_skipped",
    "is_clutter",
    "label_of_finding",
    "left_out_in_words",
    "list_files",
    "readable",
    "relative_id",
    "unlisted",
]

# The spellings of views in public tables, upper case, -> PA, AP or L (lateral).
VIEWS = {
    **dict.fromkeys(("PA", "POSTEROANTERIOR"), "PA"),
    **dict.fromkeys(("AP", "AP SUPINE", "AP ERECT", "APS", "ANTEROPOSTERIOR"), "AP"),
    **dict.fromkeys(("L", "LL", "LAT", "LATERAL", "RL"), "L"),
}


def label_of_finding(finding: str) -> str | None:
    """A finding path such as "Pneumonia/Viral/COVID-19" as a label; None where nothing is known."""
    parts = [part.strip() for part in finding.replace(",", "/").split("/") if part.strip()]
    if not parts or is_missing(finding) or is_missing(parts[0]):
        return None
    if "COVID-19" in parts:
        return "COVID-19"
    return "Normal" if parts[0].lower() in ("no finding", "normal") else parts[0]


@dataclass(frozen=True, slots=True)
class Record:
    """One image that a source lists. "" is unknown; `label` None is unlabelled.

    `problem` is (code, reason) where the source itself says that it cannot be used: absent, a CT, ...;
    such a row is reported as excluded and not decoded. `mask` is a picture of the lesion or lung.
    """

    path: Path
    image_id: str
    label: str | None = None
    patient_id: str = ""
    exam_id: str = ""
    sex: str = ""
    age: str = ""
    view: str = ""
    source: str = ""
    findings: str = ""
    split: str = ""
    problem: tuple[str, str] | None = None


@dataclass(frozen=True)
class Outlines:
    """Polygons [(x, y), ...] in a frame of width x height pixels."""

    width: float
    height: float
    polygons: tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True)
class Listing:
    """A source as read: its layout's name, the records in a fixed order, truth for localization, and notes.

    `boxes` has columns image_id, label, x, y, width, height (pixels of the image as stored); `masks` maps an
    image_id to a mask file or to outlines, of the `mask_kind` ("lung" or "lesion"); `notes` are sentences for
    people, and `left_out` counts by reason what is in the source and not used.
    """

    layout: str
    records: list[Record]
    boxes: pd.DataFrame | None = None
    masks: dict[str, Path | Outlines] = field(default_factory=dict)
    mask_kind: str = "lesion"
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def unlisted(
    source: Path, listed: set[Path], table: str, skip: Iterable[str] = (), tree: Tree | None = None
) -> list[Record]:
    """Records of the files under `source` that no row of `table` names; not those in folders of `skip`.

    `tree` is the source as walked, where it was.
    """
    left = set(skip)
    problem = ("unlisted", f"not listed in {table}")
    return [
        Record(path=path, image_id=relative_id(path, source), problem=problem)
        for path in (tree or walk(source)).files
        if path not in listed and left.isdisjoint(path.relative_to(source).parts)
    ]


def count_skipped(tree: Tree, skip: Iterable[str], used: Collection[Path] = ()) -> dict[str, int]:
    """Count the files in folders that a layout knows to hold no images, less those it has `used`."""
    left = set(skip)
    found = [
        names
        for path in tree.files
        if path not in used and (names := left.intersection(path.relative_to(tree.folder).parts[:-1]))
    ]
    return {f"files in {', '.join(sorted(set().union(*found)))}": len(found)} if found else {}


def count_notes(source: Path, records: Iterable[Record]) -> list[str]:
    """Count what is listed but absent, and what is present but unlisted, in words."""
    counts = Counter(record.problem[0] for record in records if record.problem)
    words = {"not_found": "listed images are not there", "unlisted": "files are not listed and are left out"}
    return [f"{source}: {counts[code]} {word}" for code, word in words.items() if counts[code]]


def class_name(text: str) -> str:
    """A class's name as it is compared: readable, composed (NFC), without blanks at its ends."""
    return unicodedata.normalize("NFC", readable(text)).strip()


# Codes of records that are not used, in words for the line that counts what was left out.
REASONS = {
    "unlisted": "in no table or class folder",
    "mask": "masks or drawings",
    "not_found": "listed but not there",
    "ct_slice": "of a CT",
    "other_finding": "of other findings",
    "other_body_part": "of other body parts",
    "left_out": "of labels that are left out",
}


def left_out_in_words(listing: Listing) -> str:
    """All that a source holds and that is not used, counted by reason in one line; "" where all is used."""
    codes = Counter(record.problem[0] for record in listing.records if record.problem)
    counts = Counter({REASONS.get(code, code): count for code, count in codes.items()})
    return in_words({**counts, **listing.left_out})


def relative_id(path: Path, folder: Path) -> str:
    """The image's id: its path under the source, with "/" and undecodable bytes escaped."""
    return readable(path.relative_to(folder).as_posix())


def readable(text: str) -> str:
    """`text` as valid Unicode: bytes of a file name that are not UTF-8 are written as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
