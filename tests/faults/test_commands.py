"""Faults while prepare, train, cv, predict work: SIGKILL at random moments, a full disk, many starts at once.

All of it: ``pytest -m slow tests/faults``. The sample is what CI runs.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from undisturbed import COMMANDS, DONE, Site, check_whole

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KILLS = 50  # for each of the four commands
AT_ONCE = 5  # kills of one work, before it is let through


def kill_often(site: Site, command: str, folder: Path, kills: int, rng: np.random.Generator) -> int:
    """Start `command` and kill it at a random moment until `kills` of them found it at work.

    A work that ends, and every one after `AT_ONCE` kills, is compared with the undisturbed one; then another
    begins. Returns how many were compared.
    """
    seconds, hit, works, in_a_row = site.seconds[command], 0, 0, 0
    while hit < kills:
        runs = folder / str(works)
        start = time.monotonic()
        pid = site.nursery.start(site.words(command, runs))
        wait(pid, float(rng.uniform(0, 1.0)) * seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = site.nursery.wait(pid)
        assert code in (-signal.SIGKILL, DONE[command])
        check_whole(runs)
        if code == -signal.SIGKILL:
            hit, in_a_row = hit + 1, in_a_row + 1
        else:  # it was faster than was thought: aim better
            seconds = max(0.05, min(seconds, time.monotonic() - start))
        if code != -signal.SIGKILL or in_a_row == AT_ONCE or hit == kills:
            let_through(site, command, runs)
            works, in_a_row = works + 1, 0
    return works


def let_through(site: Site, command: str, runs: Path) -> None:
    """Run it to its end; then all is as if nothing had happened."""
    log = runs.with_suffix(".log")
    assert site.nursery.run(site.words(command, runs), log) == DONE[command], log.read_text()
    check_whole(runs)
    site.compare(command, runs)


def wait(pid: int, seconds: float) -> None:
    """So many seconds, or until the process is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and ") Z" not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.01)


@pytest.mark.sample
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_once(site: Site, tmp_path: Path, command: str) -> None:
    kill_often(site, command, tmp_path, 1, np.random.default_rng(0))


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_fifty_times(site: Site, tmp_path: Path, command: str) -> None:
    works = kill_often(site, command, tmp_path, KILLS, np.random.default_rng(1))
    print(f"{command}: {KILLS} kills at work, {works} works as if undisturbed")


def full_disk(site: Site, command: str, runs: Path, limit: int) -> int:
    """With room for `limit` bytes a file; afterwards with room enough, as if nothing had happened."""
    code = site.nursery.run(site.words(command, runs), limit=limit)
    assert code in (7, DONE[command])
    check_whole(runs)
    let_through(site, command, runs)
    return code


@pytest.mark.sample
@pytest.mark.parametrize("command", ["prepare", "train"])
def test_a_full_disk(site: Site, tmp_path: Path, command: str) -> None:
    assert full_disk(site, command, tmp_path / "runs", 300) == 7


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("limit", [0, 1, 5_000, 20_000, 150_000, 2_000_000, 30_000_000])
def test_a_full_disk_at_many_offsets(site: Site, tmp_path: Path, command: str, limit: int) -> None:
    full_disk(site, command, tmp_path / "runs", limit)


@pytest.mark.sample
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_cannot_be_written(site: Site, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("mine")
    log = tmp_path / "log"
    assert site.nursery.run(site.words(command, tmp_path / "file" / "runs"), log) == 7
    assert log.read_text().count("error:") == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", COMMANDS)
def test_twenty_starts_at_once(site: Site, tmp_path: Path, command: str) -> None:
    runs = tmp_path / "runs"
    started = [site.nursery.start(site.words(command, runs)) for _ in range(20)]
    codes = [site.nursery.wait(pid) for pid in started]
    assert set(codes) <= {6, DONE[command]}
    assert DONE[command] in codes
    check_whole(runs)
    site.compare(command, runs)
