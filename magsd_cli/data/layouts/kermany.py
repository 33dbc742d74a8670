"""Chest X-ray images of children (Kermany et al., Cell 2018; "chest_xray"), as downloaded.

Contract: ``train/``, ``test/`` and ``val/`` (or none of them) with ``NORMAL/`` and ``PNEUMONIA/``; kind and
patient of a pneumonia are in the file name: ``person62_bacteria_3.jpeg``, ``person62_virus_3.jpeg``. Labels:
"Normal", "Bacterial pneumonia", "Viral pneumonia". Patients: ``kermany-person62``, whichever kind and folder,
because the numbers recur between the folders and nothing says that they are other children; for normal images
``kermany-IM-0176`` from ``IM-0176-0001.jpeg``. The published split is not used: its folders share patients.
"""

from __future__ import annotations

import re
from pathlib import Path

from magsd_cli.data.layouts.listing import Listing, Record, count_notes, list_files, relative_id

PARTS = ("train", "test", "val")


PNEUMONIA = re.compile(r"^person(\d+)_(bacteria|virus)_\d+", re.IGNORECASE)


NORMAL = re.compile(r"^(?:NORMAL\d*-)?(IM-\d+)", re.IGNORECASE)


KINDS = {"bacteria": "Bacterial pneumonia", "virus": "Viral pneumonia"}


def recognise(source: Path) -> bool:
    """NORMAL and PNEUMONIA, with files named as in the archive."""
    folders = [folder for folder in _folders(source) if folder.name == "PNEUMONIA"]
    names = (path.name for folder in folders for path in list_files(folder))
    return any(PNEUMONIA.match(name) for name in names)


def read(source: Path) -> Listing:
    """List the images of both classes in all parts."""
    records = [_record(source, path) for folder in _folders(source) for path in list_files(folder)]
    notes = [f"{source}: the published train/test/val folders are not used: patients recur between them"]
    return Listing("kermany", records, notes=count_notes(source, records) + notes)


def _folders(source: Path) -> list[Path]:
    roots = [source / part for part in PARTS if (source / part).is_dir()] or [source]
    return [root / name for root in roots for name in ("NORMAL", "PNEUMONIA") if (root / name).is_dir()]


def _record(source: Path, path: Path) -> Record:
    label: str | None = None
    patient = ""
    pneumonia, normal = PNEUMONIA.match(path.name), NORMAL.match(path.name)
    if path.parent.name == "NORMAL":
        label = "Normal"
        patient = f"kermany-{normal[1].upper()}" if normal else ""
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
