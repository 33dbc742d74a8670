"""The seal of a result table: the SHA-256 of the whole file, in the file's own key-value metadata.

It is computed with zeros in the seal's place. Files are read in pieces, so that their size does not matter.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from magsd_cli.errors import ArtifactError

SEAL = b"magsd.seal"  # its key in the metadata
_PREFIX = b"magsd-seal-sha256-"
OPEN_SEAL = _PREFIX + b"0" * 64  # what a table is written with before it is sealed
_ANY = re.compile(re.escape(_PREFIX) + rb"[0-9a-f]{64}")
_PIECE = 2**20


def seal(file: BinaryIO, where: str) -> None:
    """Put the seal of all that `file` (open for reading and writing) holds in the place of `OPEN_SEAL`.

    Raises `ArtifactError`, which begins with `where`, when there is not exactly one such place.
    """
    seals = list(_seals(file))
    if [text for _, text in seals] != [OPEN_SEAL]:  # only a name made to look like a seal can do that
        raise ArtifactError(f"{where}: an input's name imitates the table's seal; rename it")
    ((place, _),) = seals
    text = _PREFIX + _sha256(file, place).encode()
    file.seek(place)
    file.write(text)
    file.seek(0, os.SEEK_END)


def check_seal(file: BinaryIO, path: Path) -> None:
    """Compare `file`, whose name is `path`, with its seal. Raises `ArtifactError`.

    To be asked before anything parses the bytes: a damaged Parquet file can take its reader down with it.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(4)
    file.seek(max(0, size - 4))
    if size < 12 or start != b"PAR1" or file.read(4) != b"PAR1":
        raise ArtifactError(f"{path}: not a whole Parquet table (no footer); make the table again")
    seals = list(_seals(file))
    if len(seals) != 1:
        raise ArtifactError(f"{path}: not a table that magsd wrote, or damaged; make the table again")
    ((place, text),) = seals
    if text != _PREFIX + _sha256(file, place).encode():
        raise ArtifactError(f"{path}: content does not match its seal (damaged); make the table again")
    file.seek(0)


def _seals(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Each place of `file` that has a seal or an open one, and its bytes."""
    file.seek(0)
    kept, begin = b"", 0  # the end of the last piece, where a seal may have begun, and its place
    while piece := file.read(_PIECE):
        data, done = kept + piece, 0
        for match in _ANY.finditer(data):
            yield begin + match.start(), match[0]
            done = match.end()
        keep = max(done, len(data) - len(OPEN_SEAL) + 1)
        kept, begin = data[keep:], begin + keep


def _sha256(file: BinaryIO, place: int) -> str:
    """The hash of `file` with an open seal at `place`."""
    digest = hashlib.sha256()
    file.seek(0)
    left = place
    while left and (piece := file.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    digest.update(OPEN_SEAL)
    file.seek(place + len(OPEN_SEAL))
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
