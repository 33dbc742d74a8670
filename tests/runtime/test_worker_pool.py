"""Workers may crash, hang or raise: each item still gets exactly one answer, in order."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from magsd_cli import errors
from magsd_cli.errors import ArtifactError, DeviceError, Interrupted, MagsdError
from magsd_cli.runtime.worker_pool import (
    Crash,
    Limits,
    early_worker,
    even_chunk,
    from_wire,
    plain,
    run_isolated,
    to_wire,
)
from magsd_cli.runtime.worker_pool import (
    _early as early,
)


def _handler(log: str = "") -> Callable[[str], str]:
    """Answers an item with its upper case; some items are bombs."""

    def handle(item: str) -> str:
        if log:
            with Path(log).open("a") as file:
                file.write(item + "\n")
        _explode(item, log)
        return item.upper()

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
        case "eat":
            bytearray(2**30)
        case "talk":
            print("noise" * 10_000, flush=True)
            os.write(1, b"more noise")
        case "once" if Path(log).read_text().split().count(item) == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def _refuse(error: Exception) -> Callable[[str], str]:
    raise error


def _die() -> Callable[[str], str]:
    os._exit(1)


def _crashed(item: str, crash: Crash) -> str:
    return f"{item} {crash.code}: {crash.reason}"


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
    found = _run(["hang-1", "b"], chunk=1, limits=Limits(seconds=0.3), workers=2)
    assert found == ["hang-1 timeout: took longer than 0.3 seconds", "B"]
    assert _run(["a", "hang-1", "b"], limits=Limits(seconds=0.3)) == ["A", found[0], "B"]


def test_an_item_that_wants_too_much_memory_costs_only_itself() -> None:
    found = _run(["a", "eat-1", "b"], limits=Limits(memory=2**29))
    assert found == ["A", "eat-1 unexpected: reading it raised MemoryError", "B"]


def test_what_a_worker_prints_does_not_disturb(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["talk-1", "b"]) == ["TALK-1", "B"]
    assert capfd.readouterr() == ("", "")


def _kill(_item: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_items_larger_than_a_pipe() -> None:
    parts = run_isolated(plain, (_kill,), [bytes(200_000)] * 4, lambda _item, crash: crash.cause)
    assert [result for part in parts for result in part] == ["SIGKILL"] * 4


def _runs(process: int) -> bool:
    """Whether a process is there and no zombie that nobody has asked for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _sleep(mark: str) -> None:
    Path(mark).write_text(str(os.getpid()))
    time.sleep(60)


def _count(mark: str) -> None:
    """A loop that lets no other thread run."""
    Path(mark).write_text(str(os.getpid()))
    sum(range(10**13))


@pytest.mark.parametrize(("handler", "seconds"), [(_sleep, 86_400.0), (_count, 3.0)])
def test_a_worker_whose_parent_is_gone_ends(
    tmp_path: Path, handler: Callable[[str], None], seconds: float
) -> None:
    """In the middle of a day's work, and by its alarm where its code lets nothing else run."""
    mark = tmp_path / "worker"
    arguments = (plain, (handler,), [str(mark)], _crashed, 1, 1, Limits(seconds=seconds))
    parent = multiprocessing.get_context("fork").Process(target=lambda: list(run_isolated(*arguments)))
    parent.start()
    while not mark.exists() or not mark.read_text():
        time.sleep(0.02)
    parent.kill()
    parent.join()
    worker = int(mark.read_text())
    deadline = time.monotonic() + 30
    while _runs(worker):
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.02)


def test_ctrl_c_is_the_parents_business() -> None:
    parts = run_isolated(os_pid_handler, (), ["x"] * 20, _crashed, chunk=1)
    os.kill(int(next(parts)[0]), signal.SIGINT)
    assert len(list(parts)) == 19


def test_chunks_leave_no_worker_idle() -> None:
    assert [even_chunk(count, 4, 8) for count in (0, 1, 5, 32, 1000)] == [1, 1, 2, 8, 8]


@pytest.mark.parametrize("name", [n for n, kind in vars(errors).items() if isinstance(kind, type)])
def test_an_error_is_the_same_behind_the_wire(name: str) -> None:
    kind = getattr(errors, name)
    error = Interrupted(15, "stopped") if name == "Interrupted" else kind("x: no; do y")
    again = from_wire(json.loads(json.dumps(to_wire(error))))
    assert isinstance(again, MagsdError)
    assert (type(again), str(again), again.exit_code) == (kind, str(error), error.exit_code)


def test_a_strangers_error_keeps_its_name_and_text() -> None:
    again = from_wire(to_wire(KeyError("x")))
    assert (type(again).__name__, str(again)) == ("KeyError", "'x'")
    assert isinstance(from_wire(to_wire(MemoryError("no"))), MemoryError)


def test_a_setup_that_fails_is_raised_here() -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        list(run_isolated(_refuse, (ArtifactError("model: damaged; train it again"),), ["a"], _crashed))
    with pytest.raises(RuntimeError, match="no such thing"):
        list(run_isolated(_refuse, (LookupError("no such thing"),), ["a"], _crashed))
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


def test_a_worker_that_began_early_is_the_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with early_worker("json", "no_such_module"):
        with monkeypatch.context() as patch:
            patch.setattr("subprocess.Popen", None)  # no other can begin
            assert list(run_isolated(_handler, (), ["a"], _crashed)) == [["A"]]
        assert list(run_isolated(_handler, (), ["b"], _crashed)) == [["B"]]


def test_a_worker_that_began_early_ends_unused() -> None:
    with early_worker():
        (process, _) = early[0]
    assert process.poll() is not None
    assert not early


def test_an_early_worker_that_dies_is_replaced() -> None:
    with early_worker():
        early[0][0].kill()
        early[0][0].wait()
        assert list(run_isolated(_handler, (), ["a"], _crashed)) == [["A"]]


def test_workers_end_with_the_caller() -> None:
    parts = run_isolated(os_pid_handler, (), ["x", "y"], _crashed, chunk=1)
    pid = int(next(parts)[0])
    os.kill(pid, 0)
    parts.close()  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def os_pid_handler() -> Callable[[str], str]:
    return lambda _item: str(os.getpid())
