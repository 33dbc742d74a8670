"""Workers may crash, hang or raise: each item still gets exactly one answer, in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from magsd_cli.errors import ArtifactError, DeviceError
from magsd_cli.runtime.worker_pool import run_isolated


def _handler(log: str = "") -> Callable[[list[str]], list[str]]:
    """Answers an item with its upper case; some items are bombs."""

    def handle(items: list[str]) -> list[str]:
        for item in items:
            if log:
                with Path(log).open("a") as file:
                    file.write(item + "\n")
            _explode(item, log)
        return [item.upper() for item in items]

    return handle


def _explode(item: str, log: str) -> None:
    match item.partition("-")[0]:
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "raise":
            raise ValueError("the patient's name")
        case "hang":
            time.sleep(60)
        case "once" if Path(log).read_text().split().count(item) == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def _refuse() -> Callable[[list[str]], list[str]]:
    raise ArtifactError("model: damaged; train it again")


def _die() -> Callable[[list[str]], list[str]]:
    os._exit(1)


def _crashed(item: str, code: str, reason: str) -> str:
    return f"{item} {code}: {reason}"


def _run(items: list[str], log: str = "", **options: object) -> list[str]:
    parts = run_isolated(_handler, (log,), items, _crashed, **options)  # type: ignore[arg-type]
    return [result for part in parts for result in part]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers: int) -> None:
    items = [f"item{i}" for i in range(23)]
    assert _run(items, workers=workers, chunk=3) == [item.upper() for item in items]


def test_one_bad_item_never_affects_another() -> None:
    items = ["a", "segv-1", "b", "c", "exit-1", "d", "raise-1", "e", "f"]
    found = _run(items, workers=2, chunk=4)
    assert found == [
        "A",
        "segv-1 crashed: the process that read it was killed by SIGSEGV",
        "B",
        "C",
        "exit-1 crashed: the process that read it ended with code 3",
        "D",
        "raise-1 unexpected: reading it raised ValueError",
        "E",
        "F",
    ]


def test_an_innocent_item_of_a_killed_worker_is_done_again(tmp_path: Path) -> None:
    assert _run(["a", "once-1", "b"], str(tmp_path / "log"), chunk=1) == ["A", "ONCE-1", "B"]
    assert _run(["a", "once-2", "b"], str(tmp_path / "log"), chunk=3) == ["A", "ONCE-2", "B"]


def test_a_hanging_item_is_given_up() -> None:
    found = _run(["hang-1", "b"], chunk=1, seconds=0.3, workers=2)
    assert found == ["hang-1 timeout: took longer than 0.3 seconds", "B"]


def test_a_setup_that_fails_is_raised_here() -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        list(run_isolated(_refuse, (), ["a"], _crashed))
    with pytest.raises(DeviceError, match="cannot start"):
        list(run_isolated(_die, (), ["a"], _crashed))


def test_no_items_start_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    assert _run([]) == []


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "x"

    parts = run_isolated(_handler, (), endless(), _crashed, workers=1, chunk=5)
    next(parts)
    assert taken <= 5 * 5
    parts.close()  # type: ignore[attr-defined]


def test_workers_end_with_the_caller() -> None:
    parts = run_isolated(os_pid_handler, (), ["x", "y"], _crashed, chunk=1)
    pid = int(next(parts)[0])
    os.kill(pid, 0)
    parts.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def os_pid_handler() -> Callable[[list[str]], list[str]]:
    return lambda items: [str(os.getpid())] * len(items)
