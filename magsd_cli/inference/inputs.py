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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from magsd_cli.console import counted, say
from magsd_cli.data.folders.own_outputs import OWN
from magsd_cli.data.folders.tree import HIDDEN, IMAGE_SUFFIXES, entries, in_words
from magsd_cli.data.unicode_forms import on_disk
from magsd_cli.errors import NoInputError, UsageError
from magsd_cli.inference.table.index import Index
from magsd_cli.inference.table.store import RowStore

AHEAD = 20_000  # inputs that are listed before the first one is read, so that their number is known
PIECE = 2**16  # bytes of a list that are read at a time
COMPANIONS = {"metadata.csv", "boxes.csv"}


class Inputs:
    """Files in order, to be gone through once. `total`: how many; None where there are more than `AHEAD`.

    So many are listed at once, and the others as they are asked for.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._rest = iter(files)
        self._first = list(islice(self._rest, AHEAD + 1))
        self.total = len(self._first) if len(self._first) <= AHEAD else None

    def __iter__(self) -> Iterator[Path]:
        return chain(self._first, self._rest)


def list_inputs(inputs: Iterable[Path], own: Iterable[Path | None] = ()) -> list[Path]:
    """The files that `inputs` (files and folders) mean, in order, each once, as they were named.

    `own`: what this command writes to, its runs folder and its output. They are left out of every folder, and
    so are the files that standard output and error go to; an output that is named (by ``folder/*``) too.
    """
    return list(each_input(inputs, own))


def each_input(inputs: Iterable[Path], own: Iterable[Path | None] = ()) -> Iterator[Path]:
    """As `list_inputs`, lazily; at the end it says what was left out."""
    outputs = Outputs(path for path in [*own, *_streams()] if path is not None)
    left_out: Counter[str] = Counter()
    again = 0
    with closing(Index("CREATE TABLE known (path BLOB PRIMARY KEY) WITHOUT ROWID")) as known:
        for given in map(on_disk, inputs):
            for path in _files_of(given, outputs, left_out) if given.is_dir() else [given]:
                if path in outputs:
                    left_out[OWN] += 1
                elif known.run("INSERT OR IGNORE INTO known VALUES (?)", [_place(path)]):
                    yield path
                else:
                    again += 1
    del left_out[HIDDEN]  # whoever hides a file means it
    if left_out:
        say(in_words(left_out), left_out=dict(left_out))
    if again:
        words = f"left out: {counted(again, 'input')} that had been reached before; each file has one row"
        say(words, files=again)


def _place(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 (links stay what they are)


def check_watched(inputs: Sequence[Path]) -> None:
    """Raise `NoInputError` for what is watched and not there: an unmounted share is no input, no row."""
    for path in inputs:
        try:
            if not path.exists():
                raise NoInputError(f"{path}: not there; is the share mounted?")
            if path.is_dir():
                os.scandir(path).close()
        except OSError as error:
            raise NoInputError(
                f"{path}: cannot be listed ({error.strerror}); is the share mounted and readable?"
            ) from error


def warn_of_empty(inputs: Sequence[Path], store: RowStore) -> None:
    """Say that a watched folder is empty where the table knows files of it: a share may have come loose."""
    for folder in inputs:
        if folder.is_dir():
            given, known = store.count_below(folder)
            if known and not given:
                say(
                    f"{folder}: is empty, and the table has {counted(known, 'row')} of files in it; is the "
                    "share mounted? The rows stay",
                    level="warning",
                    folder=folder,
                    rows=known,
                )


def read_list(source: Path, null: bool = False) -> Iterator[Path]:
    """The paths that a list names, one a line, or with `null` ended by NUL bytes; "-" is standard input.

    Names are taken as they stand but for the end of the line: blanks and bytes that are not UTF-8 are kept.
    Relative ones are meant from the list's folder. Empty lines are passed over. Raises `UsageError` where the
    list cannot be read or is UTF-16, as soon as its first path is asked for.
    """
    try:
        with nullcontext(sys.stdin.buffer) if str(source) == "-" else source.open("rb") as file:
            yield from _names_in(source, file, null)
    except OSError as error:
        raise UsageError(
            f"--files-from {source}: {error.strerror}; give a file with one path per line"
        ) from error


def _names_in(source: Path, file: BinaryIO, null: bool) -> Iterator[Path]:
    folder = Path() if str(source) == "-" else source.parent
    end, rest = b"\0" if null else b"\n", b""
    piece = file.read(PIECE)
    if piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"--files-from {source}: is UTF-16; save it as UTF-8")
    piece = piece.removeprefix(codecs.BOM_UTF8)
    while piece:
        if not null and b"\0" in piece:
            raise UsageError(f"--files-from {source}: its paths end in NUL bytes; add -0")
        *names, rest = (rest + piece).split(end)
        yield from (folder / os.fsdecode(name) for name in map(partial(_name, null), names) if name)
        piece = file.read(PIECE)
    if last := _name(null, rest):
        yield folder / os.fsdecode(last)


def _name(null: bool, line: bytes) -> bytes:
    return line if null else line.removesuffix(b"\r")


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
