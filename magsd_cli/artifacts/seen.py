"""What the files of a watched folder looked like when they were read, so that they need not be read again.

Beside a table stands ``.<name>.seen``: for each file its content's hash and its stamp. It is a help and never
the ledger: the content's hash decides, and this only tells it without reading. Without the file, or with a
damaged one, every file is read and hashed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from magsd_cli.artifacts.files import sha256_bytes, write_bytes

#: size, modification and change time in nanoseconds, inode, device.
Stamp = tuple[int, int, int, int, int]
#: A file touched so shortly before its stamp may change once more without another stamp: clocks are coarse.
SETTLED_NS = 5 * 10**9


def seen_path(final: Path) -> Path:
    """Where the stamps of the table `final` are kept."""
    return final.with_name(f".{final.name}.seen")


def stamps_of(files: Iterable[Path]) -> dict[Path, Stamp]:
    """The stamp of each file that has one. To be taken before the file is read.

    None has what is no regular file, and what was touched in the last seconds or, as the clock has it, in the
    future: its content may still change under the same stamp.
    """
    found = {}
    for path in files:
        try:
            now, status = time.time_ns(), path.stat()
        except (OSError, ValueError):
            continue
        settled = max(status.st_mtime_ns, status.st_ctime_ns) < now - SETTLED_NS
        if stat.S_ISREG(status.st_mode) and settled:
            found[path] = (
                status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev,
            )  # fmt: skip
    return found


def read_seen(final: Path, stamps: Mapping[Path, Stamp]) -> dict[Path, str]:
    """The content's hash of those files whose stamp is what it was when they were read."""
    try:
        checksum, _, text = seen_path(final).read_bytes().partition(b"\n")
        if sha256_bytes(text).encode() != checksum:
            return {}
        known = json.loads(text)
    except (OSError, ValueError):
        return {}
    found = {path: known.get(_key(path), (None, None)) for path in stamps}
    return {path: content for path, (content, before) in found.items() if before == list(stamps[path])}


def write_seen(final: Path, stamps: Mapping[Path, Stamp], contents: Mapping[Path, str]) -> None:
    """Keep the stamp and the content's hash of the files that have both. Raises `OutputError`."""
    known = {_key(path): (content, stamps[path]) for path, content in contents.items() if path in stamps}
    text = json.dumps(known, sort_keys=True).encode()
    data = sha256_bytes(text).encode() + b"\n" + text
    path = seen_path(final)
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)


def _key(path: Path) -> str:
    return os.fsencode(os.path.abspath(path)).hex()  # noqa: PTH100 (links must stay what they are)
