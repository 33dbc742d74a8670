"""Functions that the tests of `isolate` run in worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def square(number: int) -> int:
    return number * number


def act(item: int | str) -> int | str:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "exit":
        os._exit(3)
    if item == "raise":
        raise RuntimeError("no")
    while item == "hang":
        time.sleep(0.01)
    return item


def die(_item: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "fine"


def worker_id(_item: int) -> int:
    return os.getpid()


def chatter(item: int) -> int:
    print("noise" * 1000, flush=True)
    os.write(1, b"more noise")
    return item
