"""What a layout reads: a list of images with what is known about each, before any is decoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    Boxes = pd.DataFrame
else:
    Boxes = object


# Names that operating systems and archivers leave behind; never images, never worth an error row.
CLUTTER = {"thumbs.db", "desktop.ini", ".ds_store", "__macosx"}


# Tables and texts that come with a collection; any other file, whatever its name, gets a row.
NOT_IMAGES = {".csv", ".tsv", ".json", ".xlsx", ".xls", ".md", ".html", ".bib", ".yml", ".yaml", ".sha256"}


# The spellings of views in public tables, upper case, -> PA, AP or L (lateral).
VIEWS = {
    **dict.fromkeys(("PA", "POSTEROANTERIOR"), "PA"),
    **dict.fromkeys(("AP", "AP SUPINE", "AP ERECT", "APS", "ANTEROPOSTERIOR"), "AP"),
    **dict.fromkeys(("L", "LL", "LAT", "LATERAL", "RL"), "L"),
}


def label_of_finding(finding: str) -> str | None:
    """A finding path such as "Pneumonia/Viral/COVID-19" as a label; None where nothing is known."""
    parts = [part.strip() for part in finding.replace(",", "/").split("/") if part.strip()]
    if not parts or parts[0].lower() in ("todo", "unknown"):
        return None
    if "COVID-19" in parts:
        return "COVID-19"
    return "Normal" if parts[0].lower() in ("no finding", "normal") else parts[0]


@dataclass(frozen=True)
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
    people.
    """

    layout: str
    records: list[Record]
    boxes: pd.DataFrame | None = None
    masks: dict[str, Path | Outlines] = field(default_factory=dict)
    mask_kind: str = "lesion"
    notes: list[str] = field(default_factory=list)


def is_clutter(name: str) -> bool:
    """Whether a file or folder name is hidden or left behind by an operating system."""
    return name.startswith(".") or name.lower() in CLUTTER


def list_files(folder: Path) -> list[Path]:
    """All entries under `folder` that could be meant as images, sorted; links to folders are not walked.

    Special files, dangling links and folders named like an image (x.png) are listed too: they get their row.
    """
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        root = Path(place)
        odd = [
            name
            for name in folders
            if Path(name).suffix.lower() in IMAGE_SUFFIXES or (root / name).is_symlink()
        ]
        folders[:] = sorted(name for name in folders if name not in odd and not is_clutter(name))
        for name in sorted(files + odd):
            if not is_clutter(name) and Path(name).suffix.lower() not in NOT_IMAGES:
                found.append(root / name)
    return sorted(found)


IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"}


def unlisted(source: Path, listed: set[Path], table: str, skip: Iterable[str] = ()) -> list[Record]:
    """Records of the files under `source` that no row of `table` names; not those in folders of `skip`."""
    left = set(skip)
    problem = ("unlisted", f"not listed in {table}")
    return [
        Record(path=path, image_id=relative_id(path, source), problem=problem)
        for path in list_files(source)
        if path not in listed and left.isdisjoint(path.relative_to(source).parts)
    ]


def count_notes(source: Path, records: Iterable[Record]) -> list[str]:
    """What is listed but absent, and what is there but unlisted, in words."""
    counts = Counter(record.problem[0] for record in records if record.problem)
    words = {"not_found": "listed images are not there", "unlisted": "files are not listed and are left out"}
    return [f"{source}: {counts[code]} {word}" for code, word in words.items() if counts[code]]


def relative_id(path: Path, folder: Path) -> str:
    """The image's id: its path under the source, with "/" and undecodable bytes escaped."""
    return readable(path.relative_to(folder).as_posix())


def readable(text: str) -> str:
    """`text` as valid Unicode: bytes of a file name that are not UTF-8 are written as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
