"""The files that the inputs of a command mean.

A file that is named is an input, whatever it is; one that is missing too. A folder means every file under it,
sorted by path, images or not, because a file that is left out in silence is a patient who is left out. Left
out are only hidden files, what systems leave behind (thumbnails, recycle bins; their files are counted in one
line), magsd's own outputs (runs, tables, reports, logs; counted too), and its companions of images: hashes
(``*.sha256``), ``metadata.csv``, ``boxes.csv``. A folder named like an image and a link to a folder get their
(error) row; links to folders are not followed. A file that is reached twice is one input.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from magsd_cli.console import say
from magsd_cli.data.folders.own_outputs import OWN
from magsd_cli.data.folders.tree import HIDDEN, IMAGE_SUFFIXES, entries, in_words
from magsd_cli.data.unicode_forms import on_disk
from magsd_cli.errors import UsageError

COMPANIONS = {"metadata.csv", "boxes.csv"}


def list_inputs(inputs: Iterable[Path], own: Iterable[Path | None] = ()) -> list[Path]:
    """The files that `inputs` (files and folders) mean, in order, each once, as they were named.

    `own`: what this command writes to, its runs folder and its output. They are left out of every folder, and
    so are the files that standard output and error go to; an output that is named (by ``folder/*``) too.
    """
    outputs = Outputs(path for path in [*own, *_streams()] if path is not None)
    found: dict[str, Path] = {}
    left_out: Counter[str] = Counter()
    again = 0
    for given in map(on_disk, inputs):
        for path in _files_of(given, outputs, left_out) if given.is_dir() else [given]:
            if path in outputs:
                left_out[OWN] += 1
            else:
                known = found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 (links stay what they are)
                again += known is not path
    del left_out[HIDDEN]  # whoever hides a file means it
    if left_out:
        say(in_words(left_out), left_out=dict(left_out))
    if again:
        say(
            f"{again} files were named more than once; each has one row"
            if again > 1
            else "1 file was named twice; it has one row",
            files=again,
        )
    return list(found.values())


def read_list(source: Path, null: bool = False) -> list[Path]:
    """The paths that a list names, one a line, or with `null` ended by NUL bytes; "-" is standard input.

    Names are taken as they stand but for the end of the line: blanks and bytes that are not UTF-8 are kept.
    Relative ones are meant from the list's folder. Empty lines are passed over. Raises `UsageError` where the
    list cannot be read or is UTF-16.
    """
    try:
        data = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--files-from {source}: {error.strerror}; give a file with one path per line"
        ) from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"--files-from {source}: is UTF-16; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    if not null and b"\0" in data:
        raise UsageError(f"--files-from {source}: its paths end in NUL bytes; add -0")
    names = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    folder = Path() if str(source) == "-" else source.parent
    return [folder / os.fsdecode(name) for name in names if name]


class Outputs:
    """The places that a command writes to; `path in outputs` follows links, and looks at the name first."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_name: dict[str, set[str]] = {}
        for path in paths:
            real = os.path.realpath(path)
            self._by_name.setdefault(os.path.basename(real), set()).add(real)  # noqa: PTH119

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, Path):
            return False
        known = self._by_name.get(path.name)
        return known is not None and os.path.realpath(path) in known


def _streams() -> Iterator[Path]:
    """The regular files behind standard output and error, where the system tells their names."""
    for number in (1, 2):
        with suppress(OSError):
            path = Path(f"/proc/self/fd/{number}").readlink()
            if path.is_file():
                yield path


def _files_of(folder: Path, outputs: Outputs, left_out: Counter[str]) -> Iterator[Path]:
    """Every file under `folder`; the folder itself where it is named like an image and holds none."""
    empty = folder.suffix.lower() in IMAGE_SUFFIXES
    for entry in entries(folder, left_out, outputs, enter_all=True):
        if not _is_companion(entry.path.name):
            empty = False
            yield entry.path
    if empty:
        yield folder


def _is_companion(name: str) -> bool:
    return name.lower() in COMPANIONS or name.endswith(".sha256")
