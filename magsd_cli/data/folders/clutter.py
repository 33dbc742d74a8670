"""Files and folders that systems leave among pictures: thumbnails, recycle bins, snapshots, lock files.

Thumbnails of a Synology (``@eaDir``) or QNAP (``.@__thumb``) share, deleted films in its recycle bin and
snapshots of a folder look like films. They are none, wherever they lie.
"""

from __future__ import annotations

import re

# Compared in lower case.
SYSTEM_FOLDERS = {
    *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@sharesnap", "@database"),  # Synology
    *("@recycle", "@recently-snapshot"),  # QNAP
    *("~snapshot", "~recycle", "snapshot.#"),  # NetApp, Samba
    *("$recycle.bin", "recycler", "recycled", "system volume information", "$winreagent"),  # Windows
    *("lost+found", "network trash folder", "temporary items", "thevolumesettingsfolder"),  # Unix, macOS
    *("__macosx", "__pycache__"),
}

SYSTEM_FILES = {
    *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "autorun.inf", "icon\r"),
    *("thumbs.db:encryptable", "picasa.ini", "sync.ffs_db"),
}

# Windows' links and rescued clusters, Office's lock files, Samba's shadow copies, Synology's streams.
PATTERN = re.compile(r".*\.lnk|~\$.*|found\.\d{3}|@gmt-[\d.-]+|.*@syno(resource|eastream)", re.IGNORECASE)


def is_system(name: str) -> bool:
    """Return whether a file or folder of this name belongs to a system, not to a collection."""
    lower = name.lower()
    return lower in SYSTEM_FOLDERS or lower in SYSTEM_FILES or PATTERN.fullmatch(lower) is not None


def is_clutter(name: str) -> bool:
    """Return whether a file or folder name is hidden or left behind by a system."""
    return name.startswith(".") or is_system(name)
