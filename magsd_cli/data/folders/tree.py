"""One walk over a source: the files that could be images, its tables, and what is left out, counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from magsd_cli.data.folders.clutter import is_clutter, is_system
from magsd_cli.data.folders.own_outputs import OWN, is_own_file, is_own_folder, report_parts

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"}
PLAIN_ENDINGS = tuple(IMAGE_SUFFIXES | {suffix.upper() for suffix in IMAGE_SUFFIXES})

# Tables and texts that come with a collection; any other file, whatever its name, gets a row.
NOT_IMAGES = {".csv", ".tsv", ".json", ".xlsx", ".xls", ".md", ".html", ".bib", ".yml", ".yaml", ".sha256"}
TABLES = {".csv", ".tsv", ".json", ".xlsx", ".xls"}
SYSTEM = "files of system folders"
SYSTEM_FILES = "system files"
HIDDEN = "hidden files"
MOST_COUNTED = 10_000  # a folder of snapshots holds every film a hundred times: it is not counted to the end
MOST_NAMED = 3


@dataclass(frozen=True)
class Tree:
    """The files and folders under a folder.

    `files` could be meant as images, `links` are those of them that are links to folders, `tables` are tables
    and JSON; all are sorted. `left_out` counts system files and hidden ones, which are in none of them.
    """

    folder: Path
    files: list[Path]
    links: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def without(self, read: Iterable[Path] = ()) -> dict[str, int]:
        """Count what was left out by reason, with the tables among it that are not in `read`."""
        known = set(read)
        counts: dict[str, int] = dict(self.left_out)
        for suffix in sorted(TABLES):
            kind = suffix[1:].upper()
            paths = [p for p in self.tables if p.suffix.lower() == suffix and p not in known]
            if paths:
                names = [str(path.relative_to(self.folder)) for path in paths[:MOST_NAMED]]
                more = ", ..." if len(paths) > MOST_NAMED else ""
                counts[f"{kind} not read ({', '.join(names)}{more})"] = len(paths)
        return counts


@dataclass(frozen=True)
class Entry:
    """A file under a folder that was walked, or a folder that stands for itself: see `entries`."""

    path: Path
    is_link: bool = False  #: a link to a folder


def entries(
    folder: Path, left_out: Counter[str], outputs: Container[Path] = (), *, enter_all: bool = False
) -> Iterator[Entry]:
    """Go through everything under `folder`, lazily, sorted by the parts of the paths.

    Hidden and system files, outputs of this tool and what is in `outputs` are counted in `left_out` instead.
    Links to folders are not followed: they come as entries, as do folders that cannot be listed and folders
    named like an image (x.png); what is in the last comes too with `enter_all`.
    """
    try:
        with os.scandir(folder) as scan:
            found = {entry.name: _is_folder(entry) for entry in scan}
    except OSError:
        yield Entry(folder)
        return
    folders = [name for name, is_folder in found.items() if is_folder]
    names = [name for name, is_folder in found.items() if not is_folder]
    if leave_own(folder, folders, names, left_out):
        return
    kept = set(folders).union(names)
    place = str(folder) if str(folder).endswith(os.sep) else f"{folder}{os.sep}"
    for name in sorted((name for name in found if name in kept), key=os.fsencode):
        path = Path(place + name)
        if not _named_like_image(name) and is_clutter(name):
            _count_clutter(path, found[name], left_out)
        elif found[name] and path in outputs:
            left_out[OWN] += 1
        elif not found[name]:
            yield Entry(path)
        elif path.is_symlink():
            yield Entry(path, is_link=True)
        else:
            alike = path.suffix.lower() in IMAGE_SUFFIXES
            if alike:
                yield Entry(path)
            if enter_all or not alike:
                yield from (
                    e
                    for e in entries(path, left_out, outputs, enter_all=enter_all)
                    if not (alike and e.path == path)
                )


def walk(folder: Path) -> Tree:
    """List everything under `folder`; links to folders are not walked.

    Special files, dangling links, folders that cannot be listed and folders named like an image (x.png) are
    among the files: they get their row.
    """
    files, links, tables = [], [], []
    left_out: Counter[str] = Counter()
    for entry in entries(folder, left_out):
        suffix = os.path.splitext(entry.path.name)[1].lower()  # noqa: PTH122 (a tenth of the time of Path's)
        if entry.is_link:
            links.append(entry.path)
        if suffix not in NOT_IMAGES:
            files.append(entry.path)
        elif suffix in TABLES:
            tables.append(entry.path)
    return Tree(folder, files, links, tables, left_out)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _named_like_image(name: str) -> bool:
    """Return whether a name is so plainly an image's that it is no system's and no output of ours."""
    return name[0].isalnum() and name.endswith(PLAIN_ENDINGS)


def leave_own(place: Path, folders: list[str], names: list[str], left_out: Counter[str]) -> bool:
    """Take outputs of this tool out of the `folders` and `names` in `place`, and count them in `left_out`.

    Returns whether the folder is one of ours as a whole; then both are empty.
    """
    others = [name for name in names if not _named_like_image(name)]
    whole = is_own_folder(place, folders, others)
    parts = set() if whole else report_parts(place, others)
    own = {name for name in others if name in parts or is_own_file(name)}
    count = len(own) + sum(name in parts for name in folders)
    if whole or count:
        left_out[OWN] += 1 if whole else count
    folders[:] = [] if whole else [name for name in folders if name not in parts]
    if whole or own:
        names[:] = [] if whole else [name for name in names if name not in own]
    return whole


def _count_clutter(path: Path, is_folder: bool, left_out: Counter[str]) -> None:
    """Count a file or folder that is left out: a system's folder by its files, a hidden one as one file."""
    if not is_system(path.name):
        left_out[HIDDEN] += 1
        return
    if not is_folder or path.is_symlink():
        left_out[SYSTEM_FILES] += 1
        return
    for _ in _files_below(path):
        left_out[SYSTEM] += 1
        if left_out[SYSTEM] >= MOST_COUNTED:
            return


def _files_below(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


def list_files(folder: Path) -> list[Path]:
    """All entries under `folder` that could be meant as images, sorted; see `walk`."""
    return walk(folder).files


def in_words(left_out: dict[str, int]) -> str:
    """Counts by reason: "left out: 12 masks, 3 files of system folders"; "" where nothing was."""
    counts = [
        f"{count} {_one(reason) if count == 1 else reason}" for reason, count in left_out.items() if count
    ]
    return f"left out: {', '.join(counts)}" if counts else ""


def _one(reason: str) -> str:
    for many, one in (("files", "file"), ("masks or drawings", "mask or drawing"), ("outputs", "output")):
        reason = reason.replace(many, one, 1)
    return reason
