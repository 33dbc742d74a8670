"""A process that has imported everything and forks a child for each command line.

So a kill hits work instead of imports, and two hundred of them take minutes. `python nursery.py` reads orders
from stdin, one JSON a line, and answers each with a line; `Nursery` is the other end.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Nursery:
    """Starts commands and waits for them."""

    process: subprocess.Popen[str]

    def start(self, arguments: Sequence[object], log: Path | None = None, limit: int | None = None) -> int:
        """Start ``magsd ARGUMENTS``, its words into `log`; no file may grow beyond `limit` bytes: the pid."""
        words = [str(word) for word in arguments]
        return int(self._ask({"start": words, "log": str(log or os.devnull), "limit": limit}))

    def wait(self, pid: int) -> int:
        """The exit code of the child `pid`, or minus the signal that killed it."""
        return int(self._ask({"wait": pid}))

    def run(self, arguments: Sequence[object], log: Path | None = None, limit: int | None = None) -> int:
        """Start and wait."""
        return self.wait(self.start(arguments, log, limit))

    def _ask(self, order: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def opened() -> Iterator[Nursery]:
    """A nursery that ends with the block."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


def serve() -> None:
    """Answer orders until stdin ends."""
    # Only imports: a process that has computed with threads cannot be forked.
    import sklearn.metrics
    import torch
    import torch._dynamo

    import magsd_cli.export.export
    import magsd_cli.inference.predict
    import magsd_cli.preparation.prepare
    import magsd_cli.training.run

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tiny_onnx import tiny_onnx

    # The exporter computes for seconds and writes nothing: kills are to hit what is written.
    magsd_cli.export.export.export_network = lambda *_: tiny_onnx()
    assert sklearn.metrics  # it and dynamo are imported late, which would take seconds in every child
    assert torch._dynamo
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _be_magsd(order)
        answers.write(f"{answer}\n")
        answers.flush()


def _be_magsd(order: dict[str, Any]) -> None:
    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if order["limit"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
        from magsd_cli.cli import main

        main(order["start"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
