"""Chest X-ray images of children (Kermany et al., Cell 2018; "chest_xray"), as downloaded.

Contract: ``train/``, ``test/`` and ``val/`` (or none of them) with ``NORMAL/`` and ``PNEUMONIA/``; kind and
patient of a pneumonia are in the file name: ``person62_bacteria_3.jpeg``, ``person62_virus_3.jpeg``. Labels:
"Normal", "Bacterial pneumonia", "Viral pneumonia". Patients: ``kermany-person62``, whichever kind and folder,
because the numbers recur between the folders and nothing says that they are other children; for normal images
``kermany-IM-0176`` from ``IM-0176-0001.jpeg``. The published split is not used: its folders share patients.
A class that others have added beside the two (``COVID19/``) is read by its name, its patients are unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

from magsd_cli.data.folders.clutter import is_clutter
from magsd_cli.data.folders.folder_names import Kind, kind_of
from magsd_cli.data.folders.tree import walk
from magsd_cli.data.layouts.listing import (
    Listing,
    Record,
    class_name,
    count_notes,
    list_files,
    relative_id,
    unlisted,
)

PARTS = ("train", "test", "val")
PNEUMONIA = re.compile(r"^person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)
NORMAL = re.compile(r"^(?:NORMAL\d*-)?(IM-\d+)", re.IGNORECASE)
KINDS = {"bacteria": "Bacterial pneumonia", "virus": "Viral pneumonia"}


def recognise(source: Path) -> bool:
    """NORMAL and PNEUMONIA, with files named as in the archive."""
    folders = [root / "PNEUMONIA" for root in _roots(source) if (root / "PNEUMONIA").is_dir()]
    names = (path.name for folder in folders for path in list_files(folder))
    return any(PNEUMONIA.match(name) for name in names)


def read(source: Path) -> Listing:
    """List the images of both classes in all parts."""
    records = [_record(source, path, folder) for folder in _folders(source) for path in list_files(folder)]
    tree = walk(source)
    records += unlisted(source, {record.path for record in records}, "NORMAL, PNEUMONIA", tree=tree)
    notes = [f"{source}: the published train/test/val folders are not used: patients recur between them"]
    notes = count_notes(source, records) + notes
    return Listing("kermany", records, notes=notes, left_out=tree.without())


def _roots(source: Path) -> list[Path]:
    return [source / part for part in PARTS if (source / part).is_dir()] or [source]


def _folders(source: Path) -> list[Path]:
    return [folder for root in _roots(source) for folder in _class_folders(root)]


def _class_folders(root: Path) -> list[Path]:
    """NORMAL and PNEUMONIA, then the classes that others have added, such as COVID19."""
    published = [root / name for name in ("NORMAL", "PNEUMONIA") if (root / name).is_dir()]
    added = [
        path
        for path in sorted(root.iterdir())
        if kind_of(path.name) is Kind.CLASS and path not in published and not is_clutter(path.name)
    ]
    return published + [path for path in added if path.is_dir() and path.name != "chest_xray"]


def _record(source: Path, path: Path, folder: Path) -> Record:
    label: str | None = None
    patient = ""
    pneumonia, normal = PNEUMONIA.match(path.name), NORMAL.match(path.name)
    if path.parent.name == "NORMAL":
        label = "Normal"
        patient = f"kermany-{normal[1].upper()}" if normal else ""
    elif folder.name not in ("NORMAL", "PNEUMONIA"):
        label = class_name(folder.name)
    elif pneumonia:
        label, patient = KINDS[pneumonia[2].lower()], f"kermany-person{pneumonia[1]}"
    problem = None if label else ("other_finding", "its name tells neither bacteria nor virus")
    return Record(
        path=path,
        image_id=relative_id(path, source),
        label=label,
        patient_id=patient,
        source="chest_xray (Kermany)",
        findings=path.parent.name,
        problem=problem,
    )
