"""Which files a line of inputs means.

A file that is named is an input, whatever it is; one that is missing too. A folder means every file under it,
sorted by path, images or not, because a file that is left out in silence is a patient who is left out. Left
out are only hidden files, what systems leave behind (thumbnails, recycle bins; their files are counted in one
line), magsd's own outputs (runs, tables, reports, logs; counted too), and its companions of images: hashes
(``*.sha256``), ``metadata.csv``, ``boxes.csv``. A folder named like an image and a link to a folder get their
(error) row; links to folders are not followed. A file that is reached twice is one input.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from magsd_cli.console import say
from magsd_cli.data.folders.clutter import is_clutter, is_system
from magsd_cli.data.folders.own_outputs import OWN
from magsd_cli.data.folders.tree import IMAGE_SUFFIXES, SYSTEM_FILES, count_folder, in_words, leave_own
from magsd_cli.data.unicode_forms import on_disk

COMPANIONS = {"metadata.csv", "boxes.csv"}


def list_inputs(inputs: Iterable[Path], own: Iterable[Path | None] = ()) -> list[Path]:
    """The files that `inputs` (files and folders) mean, in order, each once, as they were named.

    `own`: what this command writes to, its runs folder and its output. They are left out of every folder, and
    so are the files that standard output and error go to; an output that is named (by ``folder/*``) too.
    """
    outputs = Outputs(path for path in [*own, *_streams()] if path is not None)
    found: dict[str, Path] = {}
    left_out: Counter[str] = Counter()
    for given in map(on_disk, inputs):
        for path in _files_of(given, outputs, left_out) if given.is_dir() else [given]:
            if path in outputs:
                left_out[OWN] += 1
            else:
                found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 (links must stay what they are)
    if left_out:
        say(in_words(left_out))
    return list(found.values())


class Outputs:
    """The places that a command writes to; `path in outputs` follows links, and looks at the name first."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_name: dict[str, set[str]] = {}
        for path in paths:
            real = os.path.realpath(path)
            self._by_name.setdefault(os.path.basename(real), set()).add(real)  # noqa: PTH119

    def __contains__(self, path: Path) -> bool:
        known = self._by_name.get(path.name)
        return known is not None and os.path.realpath(path) in known


def _streams() -> Iterator[Path]:
    """The regular files behind standard output and error, where the system tells their names."""
    for number in (1, 2):
        with suppress(OSError):
            path = Path(f"/proc/self/fd/{number}").readlink()
            if path.is_file():
                yield path


def _files_of(folder: Path, outputs: Outputs, left_out: Counter[str]) -> list[Path]:
    files = sorted(
        _walk(folder, outputs, left_out), key=lambda path: [os.fsencode(part) for part in path.parts]
    )
    if not files and folder.suffix.lower() in IMAGE_SUFFIXES:
        return [folder]
    return files


def _walk(folder: Path, outputs: Outputs, left_out: Counter[str]) -> Iterator[Path]:
    closed: list[OSError] = []  # folders that cannot be listed: they get a row, what is in them is unknown
    for root, folders, files in os.walk(folder, onerror=closed.append):
        if leave_own(Path(root), folders, files, left_out):
            continue
        for name in [name for name in folders if Path(root, name) in outputs]:
            folders.remove(name)
            left_out[OWN] += 1
        for name in folders:
            path = Path(root, name)
            if not is_clutter(name) and (path.suffix.lower() in IMAGE_SUFFIXES or path.is_symlink()):
                yield path
        for name in folders:
            if is_system(name):
                count_folder(Path(root, name), left_out)
        folders[:] = [name for name in folders if not is_clutter(name)]
        for name in files:
            if is_system(name):
                left_out[SYSTEM_FILES] += 1
            if not is_clutter(name) and not _is_companion(name):
                yield Path(root, name)
    yield from (Path(error.filename) for error in closed if error.filename)


def _is_companion(name: str) -> bool:
    return name.lower() in COMPANIONS or name.endswith(".sha256")
