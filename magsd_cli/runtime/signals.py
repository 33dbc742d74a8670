"""Stopping at a good moment: SIGTERM and Ctrl-C are noted, and asked for between two batches."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from magsd_cli.errors import Interrupted

StopRequested = Callable[[], int | None]


@contextmanager
def stop_requests(parent: int | None = None) -> Iterator[StopRequested]:
    """Yield a function that gives the signal number that asked us to stop, or None.

    A second signal does not wait: it raises `Interrupted` where it finds us. With `parent`, a process id, we
    are its worker: it hears Ctrl-C and tells us by SIGTERM, and its death counts as one, for an orphan must
    not go on writing. Outside the main thread, where Python delivers no signals, only the parent is watched.
    """
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if noted:
            raise Interrupted(number, "stopped at once; run the same command again to continue")
        noted.append(number)

    def stop_requested() -> int | None:
        if parent is not None and os.getppid() != parent:
            return int(signal.SIGTERM)
        return noted[0] if noted else None

    watched = (signal.SIGTERM, signal.SIGINT) if parent is None else (signal.SIGTERM,)
    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    before = [signal.signal(number, note) for number in watched]
    try:
        yield stop_requested
    finally:
        for number, handler in zip(watched, before, strict=True):
            signal.signal(number, handler)


def end_with_parent(seconds: float = 1.0) -> None:
    """End this process once its parent is gone, which is looked at every `seconds` by a thread of its own.

    For a worker in the middle of something long, who would hear of it only when it next uses its pipe.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C for a moment; processes that are started in it ignore it for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def own_signals() -> Iterator[None]:
    """Put our handlers of SIGTERM and Ctrl-C back after a library that sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
