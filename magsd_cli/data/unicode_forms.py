"""Names that are equal to the eye and different in bytes: composed or not (NFC, NFD), blanks, case.

macOS hands names out decomposed (NFD), tables are mostly composed (NFC); a blank at a name's end is lost in
tables and kept on disk.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path


def same_path(text: str) -> str:
    """A path as it is compared: composed, and no blanks at the ends of its parts."""
    return "/".join(part.strip() for part in unicodedata.normalize("NFC", text).split("/"))


def on_disk(path: Path, below: Path | None = None) -> Path:
    """`path`, or its twin in another Unicode form where only that one is there.

    Only what lies under `below` is looked for; names in ASCII have no twin.
    """
    inside = path if below is None else path.relative_to(below)
    if str(inside).isascii() or os.path.lexists(path) or path in (path.parent, below):
        return path
    parent = on_disk(path.parent, below)
    try:
        names = os.listdir(parent)  # noqa: PTH208 (names are compared, not paths)
    except OSError:
        return path
    twins = [name for name in names if same_path(name) == same_path(path.name)]
    return parent / twins[0] if len(twins) == 1 else path


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case, blanks, dashes or underscores, each sorted."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        groups[re.sub(r"[\W_]+", "", plain) or plain].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)
