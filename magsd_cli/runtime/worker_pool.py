"""Worker processes that may crash: one bad file costs its own row, never another's, and never the run.

Each worker is its own Python with its own pipe (a shared queue can stay locked for ever when the process that
holds it dies). Items travel in chunks and their results one by one, so the item that killed a worker is
known: it is tried once more as the first of a new worker, and then answered by `on_crash`. Results come in
the order of the items, and only a window of them is under way, so memory stays flat.

Two clocks watch an item: the parent's, which replaces a worker that hangs, and an alarm in the worker, which
ends it even inside a C loop and even when the parent is gone. A worker whose parent is gone ends within a
second where its code lets another thread run. What a worker prints goes nowhere.

`to_wire` and `from_wire` carry an error from one process to another, here and wherever processes train.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Generic, TypeVar

from magsd_cli import errors
from magsd_cli.errors import DeviceError, Interrupted
from magsd_cli.runtime.signals import end_with_parent

Item = TypeVar("Item")
Result = TypeVar("Result")
Handler = Callable[[Item], Result]
OnCrash = Callable[[Item, "Crash"], Result]
ATTEMPTS = 2
STARTS = 3
START_SECONDS = 120.0
_SINGLE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: glibc would give the memory of every picture back to the system and fetch it anew, page by page, for the
#: next: a quarter of the time of decoding a film of 1024 x 1024 pixels.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}

#: An error as JSON can hold it: its class, its text, its exit code.
Wire = tuple[str, str, int]


@dataclass(frozen=True)
class Crash:
    """The reason why an item has no result: `code` is crashed, timeout or unexpected, `reason` says it in
    words.

    `cause` is what it was: a signal's name, "exit code 3", "120 seconds" or an exception's type.
    """

    code: str
    cause: str
    reason: str


@dataclass(frozen=True)
class Limits:
    """The limits of a worker: `seconds` for one item; `memory` in bytes, None without a limit."""

    seconds: float = 120.0
    memory: int | None = None


@dataclass
class _Task(Generic[Item, Result]):
    """Items that travel together, and the results so far."""

    items: list[Item]
    results: list[Result] = field(default_factory=list)
    crashes: int = 0  # of the first item without a result

    def rest(self) -> list[Item]:
        return self.items[len(self.results) :]

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
    limits: Limits = Limits(),
) -> Generator[list[Result], None, None]:
    """Give `items` in chunks to worker processes and yield each chunk's results, in order.

    In each worker `setup(*arguments)` (importable, picklable) makes the handler that turns an item into its
    result. An item that twice crashes its worker, raises there, or goes beyond `limits`, gets
    `on_crash(item, crash)`. Raises what `setup` raises, and `DeviceError` when workers cannot be started.
    """
    pool = _Pool(pickle.dumps((setup, tuple(arguments), limits)), on_crash, limits.seconds)
    given = chunks(items, chunk)
    waiting: list[_Task[Item, Result]] = []  # under way, in order
    unsent: list[_Task[Item, Result]] = []
    try:
        exhausted = False
        while True:
            while not exhausted and len(waiting) < 4 * workers:
                following = next(given, None)
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


_Started = tuple[subprocess.Popen[bytes], Connection]
_early: list[_Started] = []  # by `early_worker`, until a pool takes it


@contextmanager
def early_worker(*modules: str) -> Iterator[None]:
    """Start a worker now, while this process still finds out what there is to do.

    It imports `modules` meanwhile; the first pool that needs a worker takes it, and the end of the block ends
    it if none did.
    """
    with suppress(DeviceError):  # said where a worker is needed
        _early.append(_start_process(*modules))
    try:
        yield
    finally:
        while _early:
            process, connection = _early.pop()
            process.kill()
            connection.close()
            process.wait()


def _start_process(*modules: str) -> _Started:
    """A worker's process, which waits for its welcome, and our end of its pipe. Raises `DeviceError`."""
    ours, theirs = Pipe()
    # -P: a file named like a library in the current folder must not be imported.
    command = [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), *modules]
    environment = worker_environment()
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
    return process, ours


def worker_environment() -> dict[str, str]:
    """The environment variables of a worker: those of this process, one thread, memory that is kept."""
    return _KEEP_MEMORY | os.environ | dict.fromkeys(_SINGLE_THREAD, "1")


def plain(handler: Any) -> Any:
    """The setup of a worker that needs none."""
    return handler


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hands_for(count: int, workers: int | None = None) -> int:
    """The number of processes for `count` items: `workers` (None: one a core), but no more than items."""
    return min(workers or cores(), count)


def even_chunk(count: int, workers: int, most: int) -> int:
    """Return how many of `count` items travel together, at most `most`, so that each of the `workers` gets
    some.
    """
    return max(1, min(most, -(-count // workers)))


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield `items` as lists of `size`, of which the last may be shorter."""
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
                again += self._lose(worker, late=True)
        return again

    def close(self) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.wait()
        self._workers.clear()

    def _start(self) -> _Worker[Item, Result]:
        process, ours = _early.pop() if _early else _start_process()
        worker: _Worker[Item, Result] = _Worker(process, ours)
        self._workers.append(worker)
        with suppress(OSError):  # a worker that is dead already is noticed when its answer is awaited
            ours.send_bytes(self._welcome)
        return worker

    def _send(self, worker: _Worker[Item, Result]) -> None:
        assert worker.task is not None
        self._set_deadline(worker)
        with suppress(OSError):
            worker.connection.send(worker.task.rest())

    def _set_deadline(self, worker: _Worker[Item, Result]) -> None:
        worker.deadline = time.monotonic() + self._seconds + (0 if worker.ready else START_SECONDS)

    def _receive(self, worker: _Worker[Item, Result]) -> list[_Task[Item, Result]]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._lose(worker)
        task = worker.task
        if kind == "ready":
            worker.ready, self._failed_starts = True, 0
            self._set_deadline(worker)
            return []
        if kind == "refused":  # `setup` raised: no worker can ever start
            raise from_wire(value)
        assert task is not None
        if kind == "failed":
            self._count_crash(task, Crash("unexpected", value, f"reading it raised {value}"))
        else:
            task.results.append(value)
            task.crashes = 0
        if task.is_done():
            worker.deadline, worker.task = float("inf"), None
        elif kind == "failed":  # the worker waits to be told what to go on with
            self._send(worker)
        else:
            self._set_deadline(worker)
        return []

    def _lose(self, worker: _Worker[Item, Result], late: bool = False) -> list[_Task[Item, Result]]:
        """Bury a worker; its task comes back, without the file that killed it twice."""
        worker.process.kill()
        code = worker.process.wait()
        crash = _late(self._seconds) if late or code == -_SIGALRM else _ended(code)
        worker.connection.close()
        self._workers.remove(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise DeviceError(f"worker process: cannot start ({crash.reason}); try fewer --workers")
        elif worker.task is not None:
            self._count_crash(worker.task, crash)
        return [] if worker.task is None or worker.task.is_done() else [worker.task]

    def _count_crash(self, task: _Task[Item, Result], crash: Crash) -> None:
        task.crashes += 1
        if task.crashes >= ATTEMPTS:
            task.results.append(self._on_crash(task.rest()[0], crash))
            task.crashes = 0


_SIGALRM = getattr(signal, "SIGALRM", 0)


def _late(seconds: float) -> Crash:
    return Crash("timeout", f"{seconds:g} seconds", f"took longer than {seconds:g} seconds")


def _ended(code: int) -> Crash:
    if code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return Crash("crashed", name, f"the process that read it was killed by {name}")
    return Crash("crashed", f"exit code {code}", f"the process that read it ended with code {code}")


_BOOT = "import sys; from magsd_cli.runtime.worker_pool import serve; serve(int(sys.argv[1]), sys.argv[2:])"


def serve(descriptor: int, modules: Sequence[str] = ()) -> None:
    """The life of a worker: set up, then answer one list of items after another until the pipe closes.

    modules: imported before it is told what to do. A list ends early where an item raises: what to go on with
    is the parent's decision.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    end_with_parent()
    for name in modules:
        with suppress(ImportError):  # what is missing is said where it is needed
            import_module(name)
    with Connection(descriptor) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        setup, arguments, limits = _welcome(connection)
        _limit_memory(limits.memory)
        try:
            handler = setup(*arguments)
        except Exception as error:
            connection.send(("refused", to_wire(error)))
            return
        connection.send(("ready", None))
        while True:
            for item in connection.recv():
                kind, value = _answer(handler, item, limits.seconds)
                connection.send((kind, value))
                if kind == "failed":
                    break


def _answer(handler: Handler[Any, Any], item: Any, seconds: float) -> tuple[str, Any]:
    _alarm(seconds)
    try:
        return "done", handler(item)
    except Exception as error:
        return "failed", type(error).__name__  # only the type: the message may hold text of a DICOM header
    finally:
        _alarm(0)


def _welcome(connection: Connection) -> Any:
    data = connection.recv_bytes()
    return pickle.loads(data)  # noqa: S301 (from our own parent, over a private pipe)


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory(limit: int | None) -> None:
    if limit is not None:
        with suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def to_wire(error: Exception) -> Wire:
    """Take down what another process must know of `error` to raise it: `from_wire` makes it again."""
    return type(error).__name__, str(error), getattr(error, "exit_code", 1)


def from_wire(wire: Sequence[Any]) -> Exception:
    """The error that `to_wire` took down; one that is not ours keeps its name and text."""
    name, text, code = wire
    if name == "Interrupted":
        return Interrupted(code - 128, text)
    ours = getattr(errors, name, MemoryError if name == "MemoryError" else None)
    error: Exception = (ours or type(name, (RuntimeError,), {}))(text)
    return error
