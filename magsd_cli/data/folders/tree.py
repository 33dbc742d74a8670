"""One walk over a source: the files that could be images, its tables, and what is left out, counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from magsd_cli.data.folders.clutter import is_clutter, is_system
from magsd_cli.data.folders.own_outputs import OWN, is_own_file, is_own_folder, report_parts

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom"}

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
    """What lies under a folder.

    `files` could be meant as images, `links` are those of them that are links to folders, `tables` are tables
    and JSON; all are sorted. `left_out` counts system files and hidden ones, which are in none of them.
    """

    folder: Path
    files: list[Path]
    links: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def without(self, read: Iterable[Path] = ()) -> dict[str, int]:
        """What was left out by reason, the tables among it that are not in `read`."""
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


def walk(folder: Path) -> Tree:
    """List everything under `folder`; links to folders are not walked.

    Special files, dangling links and folders named like an image (x.png) are among the files: they get their
    row.
    """
    files, links, tables = [], [], []
    left_out: Counter[str] = Counter()
    for place, folders, names in os.walk(folder):
        root = Path(place)
        if leave_own(root, folders, names, left_out):
            continue
        linked = [name for name in folders if (root / name).is_symlink()]
        odd = [name for name in folders if name in linked or Path(name).suffix.lower() in IMAGE_SUFFIXES]
        for name in folders:
            if name not in odd and is_clutter(name):
                count_folder(root / name, left_out)
        folders[:] = sorted(name for name in folders if name not in odd and not is_clutter(name))
        for name in names + odd:
            suffix = Path(name).suffix.lower()
            if is_clutter(name):
                left_out[SYSTEM_FILES if is_system(name) else HIDDEN] += 1
            elif suffix not in NOT_IMAGES:
                files.append(root / name)
            elif suffix in TABLES:
                tables.append(root / name)
        links += [root / name for name in linked if not is_clutter(name)]
    return Tree(folder, sorted(files), sorted(links), sorted(tables), left_out)


def leave_own(place: Path, folders: list[str], names: list[str], left_out: Counter[str]) -> bool:
    """Take outputs of this tool out of the `folders` and `names` in `place`, and count them in `left_out`.

    Returns whether the folder is one of ours as a whole; then both are empty.
    """
    whole = is_own_folder(place, folders, names)
    parts = set() if whole else report_parts(place, names)
    own = {name for name in names if name in parts or is_own_file(name)}
    own |= {name for name in folders if name in parts}
    if whole or own:
        left_out[OWN] += 1 if whole else len(own)
    folders[:] = [] if whole else [name for name in folders if name not in parts]
    names[:] = [] if whole else [name for name in names if name not in own]
    return whole


def count_folder(folder: Path, left_out: Counter[str]) -> None:
    """Count a folder that is left out in `left_out`: a system's by its files, a hidden one as one."""
    if not is_system(folder.name):
        left_out[HIDDEN] += 1
        return
    for _ in _files_below(folder):
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
