"""Worker processes that may crash: one bad file costs its own row, never another's, and never the run.

Each worker is its own Python with its own pipe (a shared queue can stay locked for ever when the process that
holds it dies). A worker that dies or hangs is replaced and its files are given out again one at a time; a
file that twice takes a worker with it, alone, is answered by `on_crash`. Results come in the order of the
items, and only a window of them is under way, so memory stays flat.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Generic, TypeVar

from magsd_cli import errors
from magsd_cli.errors import DeviceError

Item = TypeVar("Item")
Result = TypeVar("Result")
Handler = Callable[[list[Item]], list[Result]]

#: From an item, a code (crashed, timeout or unexpected) and a reason to the item's result.
OnCrash = Callable[[Item, str, str], Result]
ATTEMPTS = 2
STARTS = 3
START_SECONDS = 120.0
_SINGLE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: The name and text of an error that a task explains, or None.
Failure = tuple[str, str] | None


@dataclass
class _Task(Generic[Item, Result]):
    """Items that travel together; after a crash `alone`: one at a time, results gathered here."""

    items: list[Item]
    results: list[Result] = field(default_factory=list)
    alone: bool = False
    crashes: int = 0

    def batch(self) -> list[Item]:
        return self.items[len(self.results) :][: 1 if self.alone else None]

    def is_done(self) -> bool:
        return len(self.results) == len(self.items)


@dataclass
class _Worker(Generic[Item, Result]):
    process: subprocess.Popen[bytes]
    connection: Connection
    ready: bool = False
    task: _Task[Item, Result] | None = None
    deadline: float = float("inf")


def run_isolated(
    setup: Callable[..., Handler[Item, Result]],
    arguments: Sequence[Any],
    items: Iterable[Item],
    on_crash: OnCrash[Item, Result],
    workers: int = 1,
    chunk: int = 8,
    seconds: float = 120.0,
) -> Generator[list[Result], None, None]:
    """Give `items` in chunks to worker processes and yield each chunk's results, in order.

    In each worker `setup(*arguments)` (importable, picklable) makes the handler that turns a list of items
    into a list of results of the same length. An item that crashes its worker, raises there, or takes longer
    than `seconds`, twice and alone, gets `on_crash(item, code, reason)`. Raises `DeviceError` when workers
    cannot be started at all.
    """
    pool = _Pool(pickle.dumps((setup, tuple(arguments))), on_crash, seconds)
    chunks = _chunks(items, chunk)
    waiting: list[_Task[Item, Result]] = []  # under way, in order
    unsent: list[_Task[Item, Result]] = []
    try:
        exhausted = False
        while True:
            while not exhausted and len(waiting) < 4 * workers:
                following = next(chunks, None)
                if following is None:
                    exhausted = True
                else:
                    waiting.append(_Task(following))
                    unsent.append(waiting[-1])
            pool.give(unsent, workers)
            if waiting and waiting[0].is_done():
                yield waiting.pop(0).results
            elif waiting:
                unsent[:0] = pool.collect()
            else:
                return
    finally:
        pool.close()


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while some := list(islice(source, size)):
        yield some


class _Pool(Generic[Item, Result]):
    def __init__(self, welcome: bytes, on_crash: OnCrash[Item, Result], seconds: float) -> None:
        self._welcome, self._on_crash, self._seconds = welcome, on_crash, seconds
        self._workers: list[_Worker[Item, Result]] = []
        self._failed_starts = 0

    def give(self, unsent: list[_Task[Item, Result]], limit: int) -> None:
        """Hand tasks to idle workers; start workers while there is more work than hands."""
        idle = [worker for worker in self._workers if worker.task is None]
        while unsent and (idle or len(self._workers) < limit):
            worker = idle.pop() if idle else self._start()
            worker.task = unsent.pop(0)
            self._send(worker)

    def collect(self) -> list[_Task[Item, Result]]:
        """Wait for something to happen; return the tasks that must be handed out again."""
        nearest = min(worker.deadline for worker in self._workers)
        patience = None if nearest == float("inf") else max(0.0, nearest - time.monotonic())
        ready = wait([worker.connection for worker in self._workers], patience)
        again = []
        for worker in list(self._workers):
            if worker.connection in ready:
                again += self._receive(worker)
            elif worker.deadline <= time.monotonic():
                again += self._lose(worker, "timeout", f"took longer than {self._seconds:g} seconds")
        return again

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.wait()
        self._workers.clear()

    def _start(self) -> _Worker[Item, Result]:
        ours, theirs = Pipe()
        # -P: a file named like a library in the current folder must not be imported.
        command = [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno())]
        environment = os.environ | dict.fromkeys(_SINGLE_THREAD, "1")
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        try:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and code)
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),), env=environment,
            )  # fmt: skip
        except OSError as error:
            raise DeviceError(f"worker process: {error.strerror}; try fewer --workers") from error
        finally:
            theirs.close()
        worker: _Worker[Item, Result] = _Worker(process, ours)
        self._workers.append(worker)
        with suppress(OSError):  # a worker that is dead already is noticed when its answer is awaited
            ours.send_bytes(self._welcome)
        return worker

    def _send(self, worker: _Worker[Item, Result]) -> None:
        assert worker.task is not None
        self._set_deadline(worker)
        with suppress(OSError):
            worker.connection.send(worker.task.batch())

    def _set_deadline(self, worker: _Worker[Item, Result]) -> None:
        count = len(worker.task.batch()) if worker.task else 0
        worker.deadline = time.monotonic() + self._seconds * count + (0 if worker.ready else START_SECONDS)

    def _receive(self, worker: _Worker[Item, Result]) -> list[_Task[Item, Result]]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._lose(worker, "crashed", "")
        task = worker.task
        if kind == "ready":
            worker.ready, self._failed_starts = True, 0
            self._set_deadline(worker)
            return []
        if kind == "refused":  # `setup` raised: no worker can ever start
            raise value
        assert task is not None
        if kind == "failed":
            self._count_crash(task, "unexpected", value)
        else:
            task.results += value
            task.crashes = 0
        worker.deadline, worker.task = float("inf"), None
        if task.is_done():
            return []
        worker.task = task
        self._send(worker)
        return []

    def _lose(self, worker: _Worker[Item, Result], code: str, reason: str) -> list[_Task[Item, Result]]:
        """Bury a worker; its task comes back, without the file that killed it twice."""
        worker.process.kill()
        cause = _cause(worker.process.wait())
        reason = reason or cause
        worker.connection.close()
        self._workers.remove(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise DeviceError(f"worker process: cannot start ({reason}); try fewer --workers")
        elif worker.task is not None:
            self._count_crash(worker.task, code, reason)
        return [] if worker.task is None or worker.task.is_done() else [worker.task]

    def _count_crash(self, task: _Task[Item, Result], code: str, reason: str) -> None:
        if not task.alone:
            task.alone, task.crashes = True, 0
            return
        task.crashes += 1
        if task.crashes >= ATTEMPTS:
            task.results.append(self._on_crash(task.batch()[0], code, reason))
            task.crashes = 0


def _cause(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"the process that read it was killed by {signal.Signals(-code).name}"
    return f"the process that read it ended with code {code}"


_BOOT = "import sys; from magsd_cli.runtime.worker_pool import serve; serve(int(sys.argv[1]))"


def serve(descriptor: int) -> None:
    """The life of a worker: set up, then answer one list of items after another until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    with Connection(descriptor) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        setup, arguments = _welcome(connection)
        try:
            handler = setup(*arguments)
        except Exception as error:
            connection.send(("refused", error))
            return
        connection.send(("ready", None))
        while True:
            items = connection.recv()
            try:
                results = handler(items)
            except Exception as error:
                # Only the type: the message may hold text of a DICOM header.
                connection.send(("failed", f"reading it raised {type(error).__name__}"))
            else:
                connection.send(("done", results))


def _welcome(connection: Connection) -> Any:
    data = connection.recv_bytes()
    return pickle.loads(data)  # noqa: S301 (from our own parent, over a private pipe)


def raise_failure(failure: Failure) -> None:
    """Raise the error that a task explained, if there is one."""
    if failure is not None:
        name, text = failure
        raise getattr(errors, name)(text)
