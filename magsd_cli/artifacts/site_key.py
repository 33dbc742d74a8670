"""The site's key: without it nobody can tell whose patient or study a hash in a table or a file name is."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from magsd_cli.artifacts.files import atomic_path
from magsd_cli.errors import UsageError

VARIABLE = "MAGSD_SITE_KEY"
LEAST = 16


def site_key(runs: Path, file: Path | None = None) -> bytes:
    """The key from `file`, else from MAGSD_SITE_KEY, else from ``runs/site.key``, made at the first need.

    Raises `UsageError` when a key that was given is too short to protect anything.
    """
    given = os.environ.get(VARIABLE)
    if file is not None:
        key, name = _read(file), str(file)
    elif given is not None:
        key, name = given.encode(), VARIABLE
    else:
        path = runs / "site.key"
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.touch(mode=0o600)
                temporary.write_text(secrets.token_hex(32) + "\n")
        key, name = _read(path), str(path)
    if len(key) < LEAST:
        raise UsageError(
            f"{name}: a site key needs at least {LEAST} characters; make one with `openssl rand -hex 32`"
        )
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror or error}; name a readable file with the site key"
        ) from error
