"""Words go to stderr: one plain line a stage, or JSON lines for machines; bars only on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

LOG_FORMAT_VARIABLE = "MAGSD_LOG_FORMAT"
LINE_SECONDS = 30.0  # between two lines of progress where stderr is no terminal
UNITS = ("B", "kB", "MB", "GB", "TB")
VERBOSITY_VARIABLE = "MAGSD_VERBOSITY"  # what --quiet and --verbose set, for child processes too
OFFLINE_VARIABLE = "MAGSD_OFFLINE"  # what --offline sets: no first weights are fetched
KEEP_STATE_VARIABLE = "MAGSD_KEEP_STATE"  # what --keep-state sets: finished folds keep their training state


class Bar(Protocol):
    """A progress bar: `update` counts steps and replaces the text behind the bar."""

    def update(self, advance: int = 1, text: str | None = None) -> None:
        """Count `advance` more steps as done; show `text` behind the bar."""


def on_terminal() -> bool:
    """Whether a person watches stderr: a terminal, and no machine-readable log asked for."""
    quiet = os.environ.get(VERBOSITY_VARIABLE) == "quiet"
    return not quiet and not _silenced.get() and sys.stderr.isatty() and not _json_lines()


def one_of_many() -> bool:
    """Whether torch's launcher started this process beside a first one, which speaks for all."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"


_silenced: ContextVar[bool] = ContextVar("silenced", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is said and no bar is shown by what runs inside: for those who use magsd from Python."""
    token = _silenced.set(True)
    try:
        yield
    finally:
        _silenced.reset(token)


def is_set(variable: str) -> bool:
    """Whether an environment variable that switches something on is set, to anything but 0 and nothing."""
    return os.environ.get(variable, "0") not in ("", "0")


def detail(text: str, **fields: Any) -> None:
    """One line on stderr with --verbose alone."""
    if os.environ.get(VERBOSITY_VARIABLE) == "verbose":
        say(text, level="detail", **fields)


def counted(number: int, word: str) -> str:
    """A number and what it counts: "1 file", "2 files"."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def in_bytes(size: float) -> str:
    """A size in decimal units: 12.3 MB."""
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {UNITS[-1]}"


def in_time(seconds: float) -> str:
    """A duration that is not known exactly: 8 s, 12 min, 3.5 h."""
    if seconds < 120:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def say(text: str, **fields: Any) -> None:
    """One line on stderr. Control characters are escaped: file names may hold anything.

    Of processes that work together only the first speaks, but for errors.
    """
    quiet = os.environ.get(VERBOSITY_VARIABLE) == "quiet" and fields.get("level") not in ("warning", "error")
    if quiet or _silenced.get() or (one_of_many() and fields.get("level") != "error"):
        return
    if _json_lines():
        line = json.dumps({"time": round(time.time(), 3), "message": text, **fields}, default=str)
    else:
        line = printable(text)
    print(line, file=sys.stderr, flush=True)


def printable(text: object) -> str:
    """`text` with control characters, line breaks, direction marks and lone surrogates escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


#: From what is under way and the number of its steps to a bar that lasts as long as the context.
OpenBar = Callable[[str, int | None], AbstractContextManager[Bar]]


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Bar]:
    """A Rich bar when stderr is a terminal, with the time left where the `total` is known and the time passed
    where it is not; else a line every 30 seconds.
    """
    if not on_terminal():
        yield _Lines(description, total)
        return
    with progress_bars(known=total is not None) as add:
        yield add(description, total)


@contextmanager
def progress_bars(known: bool = True) -> Iterator[Callable[[str, int | None], Bar]]:
    """One Rich view of several bars, `known`: of known totals. What it yields adds a bar.

    Silent where stderr is no terminal.
    """
    if not on_terminal():
        yield lambda _description, _total: _Silent()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn() if known else TextColumn("{task.completed}", markup=False),
        TimeRemainingColumn() if known else TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield lambda description, total: _RichBar(bars, bars.add_task(description, total=total, text=""))


class _Lines:
    """For logs: how far it is, every `LINE_SECONDS`."""

    def __init__(self, description: str, total: int | None) -> None:
        self._description, self._of = description, "" if total is None else f" of {total}"
        self._done, self._next = 0, time.monotonic() + LINE_SECONDS

    def update(self, advance: int = 1, text: str | None = None) -> None:
        self._done += advance
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_SECONDS
            say(f"{self._description}: {self._done}{self._of}{f', {text}' if text else ''}")


class _Silent:
    def update(self, advance: int = 1, text: str | None = None) -> None:
        pass


class _RichBar:
    def __init__(self, bars: Any, task: Any) -> None:
        self._bars, self._task = bars, task

    def update(self, advance: int = 1, text: str | None = None) -> None:
        fields = {} if text is None else {"text": text}
        self._bars.update(self._task, advance=advance, **fields)


def _json_lines() -> bool:
    return os.environ.get(LOG_FORMAT_VARIABLE) == "json"
