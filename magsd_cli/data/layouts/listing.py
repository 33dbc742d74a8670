"""What a layout reads: a list of images with what is known about each, before any is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# Names that operating systems and archivers leave behind; never images, never worth an error row.
CLUTTER = {"thumbs.db", "desktop.ini", ".ds_store", "__macosx"}
# Tables and texts that come with a collection; any other file, whatever its name, gets a row.
NOT_IMAGES = {".csv", ".tsv", ".json", ".xlsx", ".xls", ".md", ".html", ".bib", ".yml", ".yaml", ".sha256"}


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
class Listing:
    """A source as read: its layout's name, the records in a fixed order, truth for localization, and notes.

    `boxes` has columns image_id, label, x, y, width, height (pixels of the image as stored); `masks` maps an
    image_id to a mask file; `notes` are sentences for people.
    """

    layout: str
    records: list[Record]
    boxes: pd.DataFrame | None = None
    masks: dict[str, Path] = field(default_factory=dict)
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


def relative_id(path: Path, folder: Path) -> str:
    """The image's id: its path under the source, with "/" and undecodable bytes escaped."""
    return readable(path.relative_to(folder).as_posix())


def readable(text: str) -> str:
    """`text` as valid Unicode: bytes of a file name that are not UTF-8 are written as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
