"""Folds side by side: one process for each device, all fed from one list of folds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from magsd_cli import errors
from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.runs import open_run
from magsd_cli.console import Bar, on_terminal, progress_bars, say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError
from magsd_cli.stages.fold import train_fold
from magsd_cli.stages.signals import stop_requests, without_interrupts

TRIES = 2


@dataclass(frozen=True)
class Worker:
    """A process that trains one fold on one device; on its pipe it says how far it is, or its error."""

    process: BaseProcess
    pipe: Connection
    view: dict[str, Bar]  # its bar, once it has said how long it is
    error: list[tuple[str, str, int]]
    fold: int
    device: torch.device
    tries: int


def train_side_by_side(run: Path, cache: Path, folds: Sequence[int], devices: Sequence[torch.device]) -> None:
    """Train `folds` of `run`, as many at a time as there are `devices`.

    A worker that dies is started once more on its fold, which goes on from its checkpoint; the second time is
    a `DeviceError`. An error in one worker stops the others, which save where they are; so does a signal.
    """
    waiting = [(fold, 1) for fold in folds]
    free = list(devices)
    busy: list[Worker] = []
    with stop_requests() as asked, progress_bars() as add:
        try:
            while waiting or busy:
                while waiting and free:
                    fold, tries = waiting.pop(0)
                    busy.append(_start(run, cache, fold, free.pop(0), tries))
                wait([worker.process.sentinel for worker in busy], timeout=0.2)
                for worker in busy:
                    _listen(worker, add)
                number = asked()
                if number is not None:
                    raise Interrupted(number, "stopped, saved; run the same command again to continue")
                for worker in [worker for worker in busy if not worker.process.is_alive()]:
                    _listen(worker, add)
                    busy.remove(worker)
                    free.append(worker.device)
                    if not _finished(worker):
                        waiting.insert(0, (worker.fold, worker.tries + 1))
        finally:
            _stop(busy)


def _start(run: Path, cache: Path, fold: int, device: torch.device, tries: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (run, cache, fold, str(device), os.getpid(), theirs, on_terminal())
    process = context.Process(target=work, args=arguments, name=f"fold{fold}")
    with without_interrupts():  # Ctrl-C reaches every process of a terminal; we tell the workers ourselves
        process.start()
    theirs.close()
    return Worker(process, ours, {}, [], fold, device, tries)


def _listen(worker: Worker, add: Callable[[str, int], Bar]) -> None:
    """Take what a worker said: how long its bar is, how far it got, or its error."""
    with contextlib.suppress(EOFError, OSError):
        while worker.pipe.poll():
            kind, *said = worker.pipe.recv()
            if kind == "bar":
                worker.view["bar"] = add(*said)
            elif kind == "step":
                worker.view["bar"].update(*said)
            else:
                worker.error.append((kind, *said))


class PipedBar:
    """A bar that another process draws; it hears of it a few times a second."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._advance, self._text = pipe, 0, ""
        self._next = 0.0

    def update(self, advance: int = 1, text: str | None = None) -> None:
        """Count `advance` more steps as done; show `text` behind the bar."""
        self._advance += advance
        self._text = self._text if text is None else text
        if time.monotonic() >= self._next:
            self.flush()

    def flush(self) -> None:
        """Send what has come together."""
        self._next = time.monotonic() + 0.2
        with contextlib.suppress(OSError):  # the parent may be gone
            self._pipe.send(("step", self._advance, self._text))
        self._advance = 0


@contextlib.contextmanager
def piped_bar(pipe: Connection, description: str, total: int) -> Iterator[Bar]:
    """A bar in the parent's view."""
    with contextlib.suppress(OSError):
        pipe.send(("bar", description, total))
    bar = PipedBar(pipe)
    yield bar
    bar.flush()


def work(run: Path, cache: Path, fold: int, device: str, parent: int, pipe: Connection, shown: bool) -> None:
    """What a worker process does: train one fold, and send the error's name and text if there is one."""
    try:
        opened = open_run(run)
        images, bar = open_cache(cache), partial(piped_bar, pipe) if shown else None
        train_fold(opened, images, opened.folds(), fold, torch.device(device), parent, bar=bar)
    except MagsdError as error:
        with contextlib.suppress(OSError):  # the parent may be gone
            pipe.send((type(error).__name__, str(error), error.exit_code))
        raise SystemExit(error.exit_code) from None


def _finished(worker: Worker) -> bool:
    """Whether the worker did its fold; False to try again. Raises the error that it met."""
    worker.process.join()
    code = worker.process.exitcode
    if code == 0:
        return True
    for name, text, exit_code in worker.error:
        raise Interrupted(exit_code - 128, text) if name == "Interrupted" else getattr(errors, name)(text)
    cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    if worker.tries >= TRIES:
        raise DeviceError(
            f"fold {worker.fold}: its process died twice ({cause}; 9 is often a lack of memory); "
            "try fewer --gpus or a smaller train.batch_size, and run it again to continue"
        )
    say(f"fold {worker.fold}: its process died ({cause}); it is started once more", level="warning")
    return False


def _stop(busy: Sequence[Worker]) -> None:
    for worker in busy:
        if worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, signal.SIGTERM)
    for worker in busy:
        worker.process.join()
