"""Folds side by side: one process for each device, all fed from one list of folds."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from magsd_cli import errors
from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.runs import open_run
from magsd_cli.console import say
from magsd_cli.errors import DeviceError, Interrupted, MagsdError
from magsd_cli.stages.fold import train_fold
from magsd_cli.stages.signals import stop_requests, without_interrupts

TRIES = 2


@dataclass(frozen=True)
class Worker:
    """A process that trains one fold on one device, and the pipe on which it explains an error."""

    process: BaseProcess
    pipe: Connection
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
    with stop_requests() as asked:
        try:
            while waiting or busy:
                while waiting and free:
                    fold, tries = waiting.pop(0)
                    busy.append(_start(run, cache, fold, free.pop(0), tries))
                wait([worker.process.sentinel for worker in busy], timeout=0.2)
                number = asked()
                if number is not None:
                    raise Interrupted(number, "stopped, saved; run the same command again to continue")
                for worker in [worker for worker in busy if not worker.process.is_alive()]:
                    busy.remove(worker)
                    free.append(worker.device)
                    if not _finished(worker):
                        waiting.insert(0, (worker.fold, worker.tries + 1))
        finally:
            _stop(busy)


def _start(run: Path, cache: Path, fold: int, device: torch.device, tries: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (run, cache, fold, str(device), os.getpid(), theirs)
    process = context.Process(target=work, args=arguments, name=f"fold{fold}")
    with without_interrupts():  # Ctrl-C reaches every process of a terminal; we tell the workers ourselves
        process.start()
    theirs.close()
    return Worker(process, ours, fold, device, tries)


def work(run: Path, cache: Path, fold: int, device: str, parent: int, pipe: Connection) -> None:
    """What a worker process does: train one fold, and send the error's name and text if there is one."""
    try:
        opened = open_run(run)
        train_fold(opened, open_cache(cache), opened.folds(), fold, torch.device(device), parent)
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
    try:
        name, text, exit_code = worker.pipe.recv()
    except EOFError:  # it died without a word
        name = None
    if name == "Interrupted":
        raise Interrupted(exit_code - 128, text)
    if name is not None:
        raise getattr(errors, name)(text)
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
