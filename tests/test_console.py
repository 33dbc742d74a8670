"""What is said on stderr: lines with fields, a line every half minute, and nothing twice."""

from __future__ import annotations

import json
import time

import pytest

from magsd_cli import console
from magsd_cli.console import counted, noted, progress, progress_bars, said_by, say, say_each


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(console.time, "monotonic", found)
    monkeypatch.setattr(console, "_last_said", 0.0)
    return found


@pytest.mark.parametrize(
    ("number", "word", "text"),
    [
        (1, "file", "1 file"),
        (0, "file", "0 files"),
        (2, "process", "2 processes"),
        (3, "study", "3 studies"),
        (2, "entry", "2 entries"),
        (2, "new file", "2 new files"),
        (4, "day", "4 days"),
        (2, "epoch", "2 epochs"),
        (2, "batch", "2 batches"),
    ],
)
def test_counted(number: int, word: str, text: str) -> None:
    assert counted(number, word) == text


def test_long_work_says_a_line_every_half_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("prepare", 100, "files") as bar:
        for _ in range(60):
            clock.now += 1
            bar.update(1, "1 images/s")
    assert capsys.readouterr().err.splitlines() == [
        "prepare: 30 of 100 files, 1 images/s, about 70 s left",
        "prepare: 60 of 100 files, 1 images/s, about 40 s left",
    ]


def test_what_was_just_said_need_not_be_said_again(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 100, "steps") as bar:
        for step in range(50):
            clock.now += 1
            if step == 24:
                say("epoch 1")
            bar.update()
    assert capsys.readouterr().err == "epoch 1\n"


def test_one_silent_bar_beside_one_that_speaks(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as add:
        run, fold = add("5 networks", 100, "steps"), add("fold 1", 20, "steps", False)
        run.shorten(40)
        run.update(1)
        clock.now += 31
        fold.update(1)
        run.update(2)
    assert capsys.readouterr().err == "5 networks: 3 of 60 steps, about 15 min left\n"


def test_lines_for_programs_carry_what_they_count(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(console.LOG_FORMAT_VARIABLE, "json")
    with progress("predict", 8, "files") as bar:
        bar.update(1)
        clock.now += 40
        bar.update(2)
    (line,) = capsys.readouterr().err.splitlines()
    assert {"done": 3, "total": 8, "seconds_left": 100}.items() <= json.loads(line).items()


def test_quick_work_is_not_worth_a_line_and_slow_work_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with noted("quick"):
        pass
    monkeypatch.setattr(console, "SLOW_SECONDS", 0.01)
    monkeypatch.setattr(console, "EVERY_SECONDS", 0.05)
    with noted("slow"):
        time.sleep(0.3)
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert first == "slow"
    assert second == "slow (1 s so far)"


def test_another_process_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    taken = []
    with said_by(lambda text, fields: taken.append((text, fields))):
        say("fold 1: done", fold=1)
        assert not console.on_terminal()
    assert taken == [("fold 1: done", {"fold": 1})]
    assert capsys.readouterr().err == ""


def test_verbose_names_every_bad_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"{number}.png: corrupt" for number in range(8)]
    say_each(lines)
    assert capsys.readouterr().err.splitlines() == [*lines[:5], "... and 3 more; --verbose names them all"]
    monkeypatch.setenv(console.VERBOSITY_VARIABLE, "verbose")
    say_each(lines)
    assert capsys.readouterr().err.splitlines() == lines
