"""One subfolder per class, as in ``xrays/COVID-19/*.png``, ``xrays/Normal/*.png``.

Contract: every folder directly under the source that holds a file is a class, named as the folder; images may
lie in deeper folders. Folders of a split (``train``, ``fold0``), of sites and of images (``images_001``) are
no classes: the classes are then one level below, and the name of the part goes to `split`, that of a site to
`source` too. Masks lie in folders named so and belong to the films of the same name; what fits no film, and
pictures in folders of annotations or overlays, are left out. Files in no class folder are reported, not
used. Patients are unknown, except where a DICOM header tells them. More than 20 classes with fewer than five
files each are rather one folder per patient: they are read as unlabelled, unless ``--layout folder`` says
otherwise. Parts without classes below them are refused, unless ``--layout folder`` asks for their names.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from magsd_cli.console import printable
from magsd_cli.data.folders.folder_names import Kind, Place, kind_of
from magsd_cli.data.folders.mask_pictures import Separated, separate
from magsd_cli.data.folders.tree import Tree, list_files, walk
from magsd_cli.data.layouts.csv import refuse_manifests_below
from magsd_cli.data.layouts.listing import Listing, Record, class_name, relative_id
from magsd_cli.errors import UsageError

MOST_CLASSES = 20
MOST_NUMBERS = 10  # folders called 0, 1, ... may be classes; PadChest's 0 to 54 are parts
PARTS = (Kind.PART, Kind.SITE, Kind.IMAGES)


def recognise(source: Path) -> bool:
    """Two or more subfolders with files in them, and not so many that they must be patients, not classes.

    Parts without classes are recognised as well: they are refused in words, not read as loose images.
    """
    _, found = _separate(source)
    return _are_classes(found) or _are_parts(source, found)


def _are_classes(found: Separated) -> bool:
    """Two labels or more; many of few files each are patients, many numbers are parts."""
    counts = Counter(place.label for _, place in found.films if place.label is not None)
    numbers = len(counts) > MOST_NUMBERS and all(label.isdigit() for label in counts)
    small = len(counts) > MOST_CLASSES and counts.total() < 5 * len(counts)
    return len(counts) >= 2 and not numbers and not small


def _are_parts(source: Path, found: Separated) -> bool:
    """Several folders directly under the source, some of them parts, or too many numbers."""
    tops = _tops(source, found)
    numbers = len(tops) > MOST_NUMBERS and all(name.isdigit() for name in tops)
    return len(tops) >= 2 and (numbers or any(kind_of(name) in PARTS for name in tops))


def read_unasked(source: Path) -> Listing:
    """List the images of each class folder.

    Raises `UsageError` where the folders are parts of a collection without classes below them, where one is
    named by a word for unknown, and where a manifest lies in one.
    """
    tree, found = _separate(source)
    refuse_manifests_below(tree)
    if not _are_classes(found):
        tops = sorted(_tops(source, found))
        names = ", ".join(printable(name) for name in tops[:4]) + (", ..." if len(tops) > 4 else "")
        lists = [path for path in tree.files if path.parent == source and path.suffix.lower() == ".txt"]
        tables = [str(path.relative_to(source)) for path in (tree.tables + lists)[:3]]
        unread = f" ({printable(', '.join(tables))} is not read)" if tables else ""
        raise UsageError(
            f"{source}: {names}: parts of a collection, not classes, and no class folders lie in them"
            f"{unread}; write a metadata.csv (path,label,patient_id), "
            "or take the names as classes with --layout folder"
        )
    labels = sorted({place.label for _, place in found.films if place.label is not None})
    unknown = [label for label in labels if kind_of(label) is Kind.UNKNOWN]
    if unknown:
        raise UsageError(
            f"{source / unknown[0]}: a word for unknown is not a class; name the folder by what its films "
            "show "
            "or move it away, or keep the name with --layout folder"
        )
    return _listing(source, tree, found)


def read(source: Path) -> Listing:
    """List the images of each class folder; the folders' names are classes whatever they are."""
    tree, found = _separate(source)
    if len({place.label for _, place in found.films if place.label is not None}) < 2:
        films = [(path, _named(source, path, place)) for path, place in found.films]
        found = Separated(films, found.masks, found.mask_kind, found.rest, found.notes)
    return _listing(source, tree, found)


def _named(source: Path, path: Path, place: Place) -> Place:
    parts = path.relative_to(source).parts
    return Place(parts[0] if len(parts) > 1 else None, "", "", place.kind, place.key)


def _separate(source: Path) -> tuple[Tree, Separated]:
    """The source's tree, and its films and masks; folders that are linked to count as folders here."""
    tree = walk(source)
    linked = [path for link in tree.links if link.parent == source for path in list_files(link)]
    return tree, separate(source, sorted(tree.files + linked) if linked else tree.files)


def _tops(source: Path, found: Separated) -> set[str]:
    """The folders directly under the source that hold films."""
    parts = (path.relative_to(source).parts for path, _ in found.films)
    return {names[0] for names in parts if len(names) > 1}


def _listing(source: Path, tree: Tree, found: Separated) -> Listing:
    records, loose = [], []
    problem = ("unlisted", "not in any class folder")
    for path, place in found.films:
        image_id = relative_id(path, source)
        if place.label is None:
            loose.append(Record(path=path, image_id=image_id, problem=problem))
            continue
        label = class_name(place.label)
        records.append(
            Record(path=path, image_id=image_id, label=label, split=place.split, source=place.site)
        )
    parts = Counter(record.split for record in records if record.split)
    said = ", ".join(f"{part} {count}" for part, count in sorted(parts.items())[:6])
    notes = [f"{source}: folders of parts are not classes ({said}); they stand in the column split"]
    return Listing(
        "folder",
        records + loose + found.rest,
        masks=dict(found.masks),
        mask_kind=found.mask_kind,
        notes=found.notes + (notes if parts else []),
        left_out=tree.without(),
    )
