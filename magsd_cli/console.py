"""Words go to stderr: plain lines, or JSON lines for machines; bars on a terminal alone.

Long work shows a bar there, and elsewhere says a line every half minute.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Protocol

LOG_FORMAT_VARIABLE = "MAGSD_LOG_FORMAT"
UNITS = ("B", "kB", "MB", "GB", "TB")
VERBOSITY_VARIABLE = "MAGSD_VERBOSITY"  # what --quiet and --verbose set, for child processes too
OFFLINE_VARIABLE = "MAGSD_OFFLINE"  # what --offline sets: no first weights are fetched
KEEP_STATE_VARIABLE = "MAGSD_KEEP_STATE"  # what --keep-state sets: finished folds keep their training state


class Bar(Protocol):
    """A progress bar: `update` counts steps and replaces the text behind the bar."""

    def update(self, advance: int = 1, text: str | None = None) -> None:
        """Count `advance` more steps as done; show `text` behind the bar."""

    def shorten(self, steps: int) -> None:
        """Take `steps` away from the number of steps: they were done by an earlier start."""

    def remove(self) -> None:
        """Take the bar out of its view."""


def on_terminal() -> bool:
    """Return whether a person watches stderr: a terminal, and no machine-readable log asked for."""
    quiet = os.environ.get(VERBOSITY_VARIABLE) == "quiet"
    shown = not quiet and not _silenced.get() and _elsewhere.get() is None and not one_of_many()
    return shown and sys.stderr.isatty() and not is_json()


def one_of_many() -> bool:
    """Return whether torch's launcher started this process beside a first one, which speaks for all."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("RANK", "0") != "0"


_silenced: ContextVar[bool] = ContextVar("silenced", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """Silence what runs inside, lines and bars: for those who use magsd from Python."""
    token = _silenced.set(True)
    try:
        yield
    finally:
        _silenced.reset(token)


_elsewhere: ContextVar[Callable[[str, dict[str, Any]], None] | None] = ContextVar("elsewhere", default=None)
_last_said = 0.0  # on the clock of time.monotonic


@contextmanager
def said_by(pass_on: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
    """Hand all that is said inside to `pass_on`, text and fields: another process says it, above its bars."""
    token = _elsewhere.set(pass_on)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def is_set(variable: str) -> bool:
    """Return whether an environment variable that switches something on is set, to anything but 0 and
    nothing.
    """
    return os.environ.get(variable, "0") not in ("", "0")


def detail(text: str, **fields: Any) -> None:
    """One line on stderr with --verbose alone."""
    if is_verbose():
        say(text, level="detail", **fields)


def is_verbose() -> bool:
    """Return whether --verbose asks for details."""
    return os.environ.get(VERBOSITY_VARIABLE) == "verbose"


def counted(number: int, word: str) -> str:
    """A number and what it counts: "1 file", "2 files", "2 processes", "2 studies"."""
    if number == 1:
        return f"{number} {word}"
    if word.endswith(("s", "x", "sh", "tch")):
        return f"{number} {word}es"
    ending = f"{word[:-1]}ies" if word.endswith(("dy", "ty", "ry", "py")) else f"{word}s"
    return f"{number} {ending}"


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
    global _last_said  # noqa: PLW0603 (what is said anywhere counts)
    quiet = os.environ.get(VERBOSITY_VARIABLE) == "quiet" and fields.get("level") not in ("warning", "error")
    if quiet or _silenced.get() or (one_of_many() and fields.get("level") != "error"):
        return
    _last_said = time.monotonic()
    if (pass_on := _elsewhere.get()) is not None:
        pass_on(text, fields)
        return
    if is_json():
        line = json.dumps({"time": round(time.time(), 3), "message": text, **fields}, default=str)
    else:
        line = printable(text)
    print(line, file=sys.stderr, flush=True)


def say_each(lines: Sequence[str], most: int = 5) -> None:
    """Say the first `most` of `lines`, warnings about single files, and with --verbose the others too."""
    for line in lines[:most]:
        say(line, level="warning")
    rest = lines[most:]
    if rest and not is_verbose():
        say(f"... and {len(rest)} more; --verbose names them all", level="warning", more=len(rest))
    for line in rest:
        detail(line)


def printable(text: object) -> str:
    """`text` with control characters, line breaks, direction marks and lone surrogates escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


#: From what is under way and the number of its steps to a bar that lasts as long as the context.
OpenBar = Callable[[str, int | None], AbstractContextManager[Bar]]
EVERY_SECONDS = 30.0  # between two lines about long work where nobody watches a bar
SLOW_SECONDS = 2.0  # what takes longer than this is worth a line before it is done


@contextmanager
def progress(description: str, total: int | None, unit: str = "files") -> Iterator[Bar]:
    """Show a Rich bar when stderr is a terminal, else say a line every half minute.

    With the time left where the `total` is known; with the time passed where it is not.
    """
    with progress_bars(known=total is not None) as add:
        yield add(description, total, unit)


class AddBar(Protocol):
    """Adds a bar to a view: what is under way, its number of steps, what they are, whether it may speak."""

    def __call__(self, description: str, total: int | None, unit: str = "steps", speaks: bool = True) -> Bar:
        """Add a bar. Where no bars are drawn, one that `speaks` says a line every half minute."""


@contextmanager
def progress_bars(known: bool = True) -> Iterator[AddBar]:
    """One Rich view of several bars: what it yields adds a bar. Lines instead where stderr is no terminal.

    known: the bars have known totals.
    """
    if not on_terminal():
        yield _SpokenBar
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

    def add(description: str, total: int | None, unit: str = "", speaks: bool = True) -> Bar:  # noqa: ARG001
        return _RichBar(bars, bars.add_task(description, total=total, text=""))

    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=300) as bars:
        yield add


class _SpokenBar:
    """A bar where none can be drawn: a line when nothing was said for half a minute."""

    def __init__(self, description: str, total: int | None, unit: str = "steps", speaks: bool = True) -> None:
        self._description, self._total, self._unit, self._speaks = description, total, unit, speaks
        self._done, self._text, self._begun = 0, "", time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first steps were done, and how many

    def update(self, advance: int = 1, text: str | None = None) -> None:
        self._done += advance
        self._text = self._text if text is None else text
        now = time.monotonic()
        if self._done and self._first is None:
            self._first = now, self._done
        if self._speaks and now - max(_last_said, self._begun) >= EVERY_SECONDS:
            left = self._seconds_left(now)
            of = "" if self._total is None else f" of {self._total}"
            words = [f"{self._done}{of} {self._unit}", self._text]
            words += [] if left is None else [f"about {in_time(left)} left"]
            say(
                f"{self._description}: {', '.join(word for word in words if word)}",
                done=self._done,
                total=self._total,
                seconds_left=None if left is None else round(left),
            )

    def _seconds_left(self, now: float) -> float | None:
        """The time that the rest takes at the pace since the first steps, which the start held up."""
        if self._total is None or self._first is None or self._done == self._first[1]:
            return None
        then, done = self._first
        return (now - then) / (self._done - done) * (self._total - self._done)

    def shorten(self, steps: int) -> None:
        self._total = None if self._total is None else self._total - steps

    def remove(self) -> None:
        pass


class _RichBar:
    def __init__(self, bars: Any, task: Any) -> None:
        self._bars, self._task = bars, task

    def update(self, advance: int = 1, text: str | None = None) -> None:
        fields = {} if text is None else {"text": text}
        self._bars.update(self._task, advance=advance, **fields)

    def shorten(self, steps: int) -> None:
        if steps:
            (task,) = (task for task in self._bars.tasks if task.id == self._task)
            self._bars.update(self._task, total=task.total - steps)

    def remove(self) -> None:
        self._bars.remove_task(self._task)


@contextmanager
def noted(what: str) -> Iterator[None]:
    """Say `what` where the work inside takes longer than two seconds, and again every half minute."""
    ended, begun = threading.Event(), time.monotonic()

    def speak() -> None:
        patience = SLOW_SECONDS
        while not ended.wait(patience):
            seconds = time.monotonic() - begun
            say(what if patience == SLOW_SECONDS else f"{what} ({in_time(seconds)} so far)", stage=what)
            patience = EVERY_SECONDS

    thread = threading.Thread(target=copy_context().run, args=(speak,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def is_json() -> bool:
    """Return whether lines on stderr are JSON, for programs."""
    return os.environ.get(LOG_FORMAT_VARIABLE) == "json"
