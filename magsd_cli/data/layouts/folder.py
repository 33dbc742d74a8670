"""One subfolder per class, as in ``xrays/COVID-19/*.png``, ``xrays/Normal/*.png``.

Contract: every folder directly under the source that holds a file is a class, named as the folder; images may
lie in deeper folders; files directly in the source are not in any class and are reported, not used. Patients
are unknown, except where a DICOM header tells them. More than 20 subfolders with fewer than five files each
are rather one folder per patient: they are read as unlabelled, unless ``--layout folder`` says otherwise.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.layouts.listing import (
    IMAGE_SUFFIXES,
    Listing,
    Record,
    is_clutter,
    list_files,
    readable,
    relative_id,
)

MOST_CLASSES = 20


def recognise(source: Path) -> bool:
    """Two or more subfolders with files in them, and not so many that they must be patients, not classes."""
    counts = [len(list_files(folder)) for folder in _class_folders(source)]
    return len(counts) >= 2 and (len(counts) <= MOST_CLASSES or sum(counts) >= 5 * len(counts))


def read(source: Path) -> Listing:
    """List the images of each class folder."""
    records = []
    for folder in _class_folders(source):
        label = readable(folder.name)
        for path in list_files(folder):
            records.append(Record(path=path, image_id=relative_id(path, source), label=label))
    loose = [p for p in list_files(source) if p.parent == source]
    problem = ("unlisted", "not in any class folder")
    records += [Record(path=p, image_id=relative_id(p, source), problem=problem) for p in loose]
    return Listing("folder", records)


def _class_folders(source: Path) -> list[Path]:
    folders = [p for p in sorted(source.iterdir()) if p.is_dir() and not is_clutter(p.name)]
    return [p for p in folders if p.suffix.lower() not in IMAGE_SUFFIXES and list_files(p)]
