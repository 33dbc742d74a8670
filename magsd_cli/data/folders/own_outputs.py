"""Outputs of this tool among pictures, told by their names: runs, caches, tables, model files, reports, logs.

They are never inputs: a table that is written into a watched folder, a runs folder below the source, overlays
that look like films. What is checked is names alone, but for a report, whose last line says who wrote it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from magsd_cli.settings import REPORT_MARK

OWN = "outputs of magsd"
SUFFIXES = {".parquet", ".h5", ".magsd", ".lungs"}
LOG = re.compile(r".*\.log([.-]\d+)?(\.(gz|bz2|xz|zst))?", re.IGNORECASE)
#: A DICOM object with a result, as `predict --dicom-sr` and `localize --dicom-seg` name it.
DICOM = re.compile(r"h-[0-9a-z]+\.(sr|seg|sc)\.[0-9a-f]{32}\.dcm")
#: Files that stand side by side in a folder of ours alone: a run, a suite, a localization.
FOLDERS = (
    {"recipe.json", "folds.parquet"},
    {"suite.json"},
    {"localization.parquet"},
)
REPORT = {"report.md", "report.html", "model_card.md"}


def is_own_file(name: str) -> bool:
    """Return whether a file of this name is a table, cache, model file or DICOM object of this tool, or a
    log.
    """
    if os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
        return True
    return any(pattern.fullmatch(name) for pattern in (LOG, DICOM))


def is_own_folder(place: Path, folders: Collection[str], names: Collection[str]) -> bool:
    """Return whether the folder `place`, which holds `folders` and files of `names`, is a run, a suite or a
    localization of this tool, or a folder of runs.
    """
    if any(marks.issubset(names) for marks in FOLDERS):
        return True
    if {"overlays", "masks"}.issubset(folders) and ".lock" in names:  # a localization that is not finished
        return True
    return "cache" in folders and _holds_caches(place / "cache")


def _holds_caches(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(".h5") or entry.name.startswith(".work-") for entry in entries)
    except OSError:
        return False


def report_parts(place: Path, names: Collection[str]) -> set[str]:
    """The names in the folder `place` that belong to reports of this tool: pages, and folders of figures."""
    found: set[str] = set()
    for name in names:
        if name.endswith(".md") and _is_report(place / name):
            found |= REPORT | {"figures"} if name == "report.md" else {name, name.removesuffix(".md")}
    return found


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 200))
            return REPORT_MARK.encode() in file.read()
    except OSError:
        return False
