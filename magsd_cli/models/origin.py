"""The origin of a network's first weights, for provenance, the model card and messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from magsd_cli.console import OFFLINE_VARIABLE, is_set, say
from magsd_cli.errors import ArtifactError


class Origin(NamedTuple):
    """First weights: a package, an address or "file"; the file's name, SHA-256 (None: absent) and licence."""

    source: str
    file: str
    sha256: str | None
    licence: str


def offline() -> bool:
    """Return whether no connection may be opened: `--offline`, or `MAGSD_OFFLINE` set to anything but 0."""
    return is_set(OFFLINE_VARIABLE)


@contextmanager
def stay_offline() -> Iterator[None]:
    """Let nothing inside fetch weights, as with `--offline`: what is not on this machine is an error."""
    before = os.environ.get(OFFLINE_VARIABLE)
    os.environ[OFFLINE_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[OFFLINE_VARIABLE]
        else:
            os.environ[OFFLINE_VARIABLE] = before


def announce_fetch(what: str, source: str, size: str, licence: str, remedy: str) -> None:
    """Say in one line what is about to be fetched, from where, how large it is and under which licence.

    Raises `ArtifactError` with `remedy` where connections are forbidden.
    """
    if offline():
        raise ArtifactError(
            f"{what} are not here, and --offline ({OFFLINE_VARIABLE}) forbids fetching them; {remedy}"
        )
    say(f"fetching {what} from {source} ({size}; {licence}); --offline forbids it", source=source)
