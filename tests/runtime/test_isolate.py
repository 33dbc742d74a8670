"""A file that kills its process costs only itself."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
import victims

from magsd_cli.runtime.isolate import Crashed, run_isolated


@pytest.fixture(autouse=True)
def _workers_find_the_victims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(victims.__file__))  # noqa: PTH120


def test_all_items_once() -> None:
    results = dict(run_isolated(victims.square, range(50), workers=2))
    assert results == {n: n * n for n in range(50)}
    assert list(run_isolated(victims.square, [], workers=2)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_costs_only_its_item(workers: int) -> None:
    items = [1, 2, "crash", 3, "crash", "exit", 4, "raise", 5]
    results = dict(run_isolated(victims.act, items, workers=workers))
    assert len(results) == len(items)
    for position, item in enumerate(items):
        outcome = results[position]
        if isinstance(item, str):
            assert isinstance(outcome, Crashed)
            assert outcome.code == "decoder_crashed"
        else:
            assert outcome == item
    assert "SIGSEGV" in results[2].reason


def test_crashes_before_the_next_item_is_sent_do_not_end_the_rest() -> None:
    """Items larger than a pipe: when one kills the worker, no other is on its way."""
    results = list(run_isolated(victims.die, [bytes(200_000)] * 4, workers=1))
    assert [(number, outcome.code) for number, outcome in results] == [
        (number, "decoder_crashed") for number in range(4)
    ]


def test_an_endless_item_is_ended() -> None:
    start = time.monotonic()
    results = dict(run_isolated(victims.act, [1, "hang", 2], workers=1, seconds=1.0))
    assert results[1].code == "decoder_timeout"
    assert (results[0], results[2]) == (1, 2)
    assert time.monotonic() - start < 30


def test_a_crash_by_chance_is_tried_again(tmp_path: object) -> None:
    results = dict(run_isolated(victims.crash_once, [f"{tmp_path}/mark", f"{tmp_path}/mark"], workers=1))
    assert results == {0: "fine", 1: "fine"}


def test_leaving_early_leaves_no_worker() -> None:
    results = run_isolated(victims.worker_id, range(1000), workers=2)
    _, worker = next(results)
    results.close()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker is still there")


def test_prints_do_not_disturb() -> None:
    assert dict(run_isolated(victims.chatter, [1, 2], workers=1)) == {0: 1, 1: 2}


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_ctrl_c_is_the_parents_business() -> None:
    results = run_isolated(victims.worker_id, range(20), workers=1)
    _, worker = next(results)
    os.kill(worker, signal.SIGINT)
    assert len(list(results)) == 19
