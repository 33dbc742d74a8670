"""Run a function over items in worker processes, so that an item that kills its process costs only itself.

Each worker is ``python -m magsd_cli.runtime.isolate`` reading pickled items from its stdin: it imports
nothing but the function, leaves with its parent, and an alarm ends it when one item takes too long.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

Item = TypeVar("Item")


Result = TypeVar("Result")


IN_FLIGHT = 3  # items that a worker holds, so that it never waits for us


MEMORY_LIMIT = 2 * 2**30


@dataclass(frozen=True)
class Crashed:
    """The worker of an item died: `code` is decoder_crashed or decoder_timeout."""

    code: str
    reason: str


def run_isolated(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, seconds: float = 120.0
) -> Generator[tuple[int, Result | Crashed]]:
    """Yield (position, result) as results come; `Crashed` where its process died twice or took too long.

    `function` is a module-level function; items and results are picklable. Memory is bounded: a few items a
    worker are in flight. Closing the generator ends the workers.
    """
    pool = _Pool(function, enumerate(items), seconds, results=queue.Queue(maxsize=4 * workers))
    threads = [threading.Thread(target=pool.serve, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    running = len(threads)
    try:
        while running:
            outcome = pool.results.get()
            if outcome is None:
                running -= 1
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                yield outcome
    finally:
        pool.stop()
        for thread in threads:
            thread.join(timeout=5)


class _Pool(Generic[Item, Result]):
    """What the serving threads share: the items to come, the results, the processes."""

    def __init__(
        self,
        function: Callable[[Item], Result],
        items: Iterator[tuple[int, Item]],
        seconds: float,
        results: queue.Queue[Any],
    ) -> None:
        self.function, self.items, self.seconds, self.results = function, items, seconds, results
        self.lock = threading.Lock()
        self.stopped = False
        self.processes: set[subprocess.Popen[bytes]] = set()

    def next_item(self) -> tuple[int, Item] | None:
        with self.lock:
            return None if self.stopped else next(self.items, None)

    def deliver(self, outcome: object) -> None:
        while not self.stopped:
            with suppress(queue.Full):
                self.results.put(outcome, timeout=0.2)
                return

    def stop(self) -> None:
        self.stopped = True
        with self.lock:
            for process in self.processes:
                process.kill()

    def serve(self) -> None:
        """One thread: keep one worker process busy, and replace it when it dies."""
        pending: deque[tuple[int, Item]] = deque()
        try:
            suspect = -1
            while not self.stopped:
                if not pending:
                    following = self.next_item()
                    if following is None:
                        break
                    pending.append(following)
                suspect = self._serve_one_process(pending, suspect)
        except BaseException as error:  # whatever it is, the caller must see it instead of waiting for ever
            self.deliver(error)
        self.deliver(None)

    def _serve_one_process(self, pending: deque[tuple[int, Item]], suspect: int) -> int:
        """Serve until the items are done (returns -1) or the process dies (returns the item it died of)."""
        process = self._start()
        try:
            for _, item in list(pending)[: 1 if suspect >= 0 else None]:
                _send(process, item)
            sent = 1 if suspect >= 0 else len(pending)
            while True:
                while sent < IN_FLIGHT and not (suspect >= 0 and sent):
                    if sent == len(pending):
                        following = self.next_item()
                        if following is None:
                            break
                        pending.append(following)
                    _send(process, pending[sent][1])
                    sent += 1
                if not pending:
                    return -1
                reply = pickle.load(process.stdout)  # type: ignore[arg-type]  # noqa: S301 (our own worker's)
                self.deliver((pending[0][0], reply))
                pending.popleft()
                sent, suspect = sent - 1, -1
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._bury(process, pending, suspect)
        finally:
            self._end(process)

    def _bury(self, process: subprocess.Popen[bytes], pending: deque[tuple[int, Item]], suspect: int) -> int:
        """The first item in flight killed the process. A crash is tried once more alone: it may be chance."""
        if self.stopped or not pending:
            return -1
        code = process.wait()
        position = pending[0][0]
        if code == -getattr(signal, "SIGALRM", 0):
            crash = Crashed("decoder_timeout", f"decoding took more than {self.seconds:g} seconds")
        elif suspect != position:
            return position
        else:
            crash = Crashed("decoder_crashed", f"decoding it ended its process ({_name(code)})")
        pending.popleft()
        self.deliver((position, crash))
        return -1

    def _start(self) -> subprocess.Popen[bytes]:
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENCV_LOG_LEVEL="SILENT")
        package = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "magsd_cli.runtime.isolate", str(self.seconds)]
        with self.lock:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
            )
            self.processes.add(process)
        with suppress(OSError):
            _send(process, self.function)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]
        if self.stopped:
            process.kill()
        process.stdout.close()  # type: ignore[union-attr]
        process.wait()
        with self.lock:
            self.processes.discard(process)


def _send(process: subprocess.Popen[bytes], value: object) -> None:
    pickle.dump(value, process.stdin)  # type: ignore[arg-type]
    process.stdin.flush()  # type: ignore[union-attr]


def _name(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"signal {-code}"


def main() -> None:
    """A worker: function first, then items from stdin; results to stdout until stdin ends."""
    # The terminal's Ctrl-C reaches us as well; leaving is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: IO[bytes] = sys.stdin.buffer
    outbox: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not get between our replies
    _limit_memory()
    seconds = float(sys.argv[1])
    with suppress(EOFError, BrokenPipeError):
        function = pickle.load(inbox)  # noqa: S301 (from our own parent)
        while True:
            item = pickle.load(inbox)  # noqa: S301
            _alarm(seconds)
            result = function(item)
            _alarm(0)
            pickle.dump(result, outbox, protocol=5)
            outbox.flush()


def _alarm(seconds: float) -> None:
    """The kernel ends us, even inside a C loop and even when the parent is gone."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))


if __name__ == "__main__":
    main()
