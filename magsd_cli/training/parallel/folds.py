"""Folds side by side: one process for each device, or tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from magsd_cli.artifacts.runs import REFIT, network_name, network_words
from magsd_cli.console import Bar, said_by, say
from magsd_cli.errors import DeviceError, Interrupted, LockedError, MagsdError
from magsd_cli.runtime.cluster import (
    RETRIES,
    connected,
    device_kind,
    task_environment,
    task_resources,
    task_result,
)
from magsd_cli.runtime.signals import stop_requests, without_interrupts
from magsd_cli.runtime.worker_pool import Wire, from_wire, to_wire
from magsd_cli.training.fold import train_fold
from magsd_cli.training.plan import Plan, open_plan
from magsd_cli.training.run_bar import run_bar

TRIES = 2
LOCK_SECONDS = 120.0  # how long a fold waits for the process that had it on a machine that died


@dataclass(frozen=True)
class Worker:
    """A process that trains one fold on one device. Its pipe brings its progress, its lines and its error."""

    process: BaseProcess
    pipe: Connection
    view: dict[str, Bar]  # its bar, once it has said how long it is
    error: list[Wire]
    fold: int
    device: torch.device
    tries: int


def train_side_by_side(plan: Plan, folds: Sequence[int], devices: Sequence[torch.device]) -> None:
    """Train `folds` of the run of `plan`, as many at a time as there are `devices`.

    A worker that dies is started once more on its fold, which goes on from its checkpoint; the second time is
    a `DeviceError`. An error in one worker stops the others, which save where they are; so does a signal. An
    error of the refit network is raised when the folds are done, which need nothing of it.
    """
    waiting = [(fold, 1) for fold in folds]
    failed: list[Exception] = []
    free = list(devices)
    busy: list[Worker] = []
    with stop_requests() as stop_requested, run_bar(plan, folds) as view:
        try:
            while waiting or busy:
                while waiting and free:
                    fold, tries = waiting.pop(0)
                    busy.append(_start(plan, fold, free.pop(0), tries))
                wait([worker.process.sentinel for worker in busy], timeout=0.2)
                for worker in busy:
                    _listen(worker, view.add)
                view.run.update(0)
                number = stop_requested()
                if number is not None:
                    raise Interrupted(number, "stopped, saved; run the same command again to continue")
                for worker in [worker for worker in busy if not worker.process.is_alive()]:
                    _listen(worker, view.add)
                    _close_bar(worker)
                    busy.remove(worker)
                    free.append(worker.device)
                    try:
                        if not _finished(worker):
                            waiting.insert(0, (worker.fold, worker.tries + 1))
                    except MagsdError as error:
                        _keep_of_refit(worker.fold, error, failed)
        finally:
            _stop(busy)
    if failed:
        raise failed[0]


def _keep_of_refit(fold: int, error: Exception, failed: list[Exception]) -> None:
    """Put an error of the refit network into `failed`, for later; raise that of a fold."""
    if fold != REFIT or isinstance(error, Interrupted):
        raise error
    failed.append(error)


def _start(plan: Plan, fold: int, device: torch.device, tries: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (plan.run.path, plan.cache.path, fold, str(device), os.getpid(), theirs)
    process = context.Process(target=work, args=arguments, name=network_name(fold))
    with without_interrupts():  # Ctrl-C reaches every process of a terminal; we tell the workers ourselves
        process.start()
    theirs.close()
    return Worker(process, ours, {}, [], fold, device, tries)


def _listen(worker: Worker, add: Callable[[int, str, int], Bar]) -> None:
    """Take what a worker sent: how long its bar is, how far it got, a line to say, or its error."""
    with contextlib.suppress(EOFError, OSError):
        while worker.pipe.poll():
            kind, *said = worker.pipe.recv()
            if kind == "bar":
                worker.view["bar"] = add(worker.fold, *said)
            elif kind == "line":
                text, fields = said
                say(text, **fields)
            elif kind == "step":
                worker.view["bar"].update(*said)
            else:
                worker.error.append(*said)


def _close_bar(worker: Worker) -> None:
    bar = worker.view.pop("bar", None)
    if bar is not None:
        bar.remove()


class _Sender:
    """The pipe of a worker, into which several threads may speak. A parent that is gone hears nothing."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._lock = pipe, threading.Lock()

    def send(self, words: tuple[Any, ...]) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._pipe.send(words)


class PipedBar:
    """A bar that another process draws; it hears of it a few times a second."""

    def __init__(self, pipe: _Sender) -> None:
        self._pipe, self._advance, self._text = pipe, 0, ""
        self._next = 0.0

    def update(self, advance: int = 1, text: str | None = None) -> None:
        """Count `advance` more steps as done; show `text` behind the bar."""
        self._advance += advance
        self._text = self._text if text is None else text
        if time.monotonic() >= self._next:
            self.flush()

    def shorten(self, steps: int) -> None:
        """Do nothing: the other process knows how many steps there were."""

    def remove(self) -> None:
        """Do nothing: the other process takes it away when this one has ended."""

    def flush(self) -> None:
        """Send what has come together."""
        self._next = time.monotonic() + 0.2
        self._pipe.send(("step", self._advance, self._text))
        self._advance = 0


@contextlib.contextmanager
def piped_bar(pipe: _Sender, description: str, total: int | None) -> Iterator[Bar]:
    """A bar in the parent's view."""
    pipe.send(("bar", description, total))
    bar = PipedBar(pipe)
    yield bar
    bar.flush()


def work(run: Path, cache: Path, fold: int, device: str, parent: int, pipe: Connection) -> None:
    """The life of a worker process: train one fold, and send what it says and the error if there is one."""

    sender = _Sender(pipe)
    try:
        with said_by(lambda text, fields: sender.send(("line", text, fields))):
            bar = partial(piped_bar, sender)
            train_fold(open_plan(run, cache), fold, torch.device(device), parent, bar=bar)
    except MagsdError as error:
        sender.send(("error", to_wire(error)))
        raise SystemExit(error.exit_code) from None


def _finished(worker: Worker) -> bool:
    """Return whether the worker did its fold; False to try again. Raises the error that it met."""
    worker.process.join()
    code = worker.process.exitcode
    if code == 0:
        return True
    for error in worker.error:
        raise from_wire(error)
    cause = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    if worker.tries >= TRIES:
        raise DeviceError(
            f"{network_words(worker.fold)}: its process died twice ({cause}; 9 is often a lack of memory); "
            "try fewer --gpus or a smaller train.batch_size, and run it again to continue"
        )
    say(
        f"{network_words(worker.fold)}: its process died ({cause}); starting it once more",
        level="warning",
        fold=worker.fold,
    )
    return False


def _stop(busy: Sequence[Worker]) -> None:
    for worker in busy:
        if worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, signal.SIGTERM)
    for worker in busy:
        worker.process.join()


def train_on_cluster(plan: Plan, folds: Sequence[int], address: str, device: str) -> None:
    """Train `folds` of `plan` as tasks, each on a GPU of the cluster, or on `plan.threads` cores of it.

    A fold whose machine dies goes on from its checkpoint on another. Raises the error that a task explains,
    `DeviceError` when a fold's process died too often, `Interrupted` on a signal.
    """
    with connected(address) as ray, stop_requests() as stop_requested:
        needs = task_resources(ray, device, plan.threads)
        task = ray.remote(fold_task).options(max_retries=RETRIES, **task_environment(), **needs)
        run, cache, kind = plan.run.path.resolve(), plan.cache.path.resolve(), device_kind(needs)
        waiting = {task.remote(run, cache, fold, kind): fold for fold in folds}
        failed: list[Exception] = []
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=0.5)
            number = stop_requested()
            if number is not None:
                for reference in waiting:
                    ray.cancel(reference)
                raise Interrupted(number, "stopped; run the same command again to go on from the checkpoints")
            for reference in done:
                fold = waiting.pop(reference)
                failure = task_result(ray, reference, network_words(fold))
                if failure is not None:
                    _keep_of_refit(fold, from_wire(failure), failed)
                else:
                    say(f"{network_words(fold)}: done on the cluster", fold=fold)
        if failed:
            raise failed[0]


def fold_task(run: Path, cache: Path, fold: int, kind: str) -> Wire | None:
    """Train one fold from where it stands, in a worker."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            train_fold(open_plan(run, cache), fold, torch.device(kind), os.getppid())
        except LockedError as error:
            if time.monotonic() > deadline:
                return to_wire(error)
            time.sleep(1)
        except Interrupted:
            raise SystemExit(1) from None  # the machine's Ray is gone: another one takes the fold
        except MagsdError as error:
            return to_wire(error)
        else:
            return None
