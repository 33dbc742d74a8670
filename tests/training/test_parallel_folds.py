"""What a fold's process says to the one that shows it."""

from __future__ import annotations

from multiprocessing import Pipe

import pytest
import torch

from magsd_cli.console import said_by, say
from magsd_cli.training.parallel.folds import Worker, _listen, _Sender, piped_bar


class Drawn:
    """A bar that remembers."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done, self.text = title, total, 0, ""

    def update(self, advance: int = 1, text: str | None = None) -> None:
        self.done += advance
        self.text = text or self.text


def test_a_bar_drawn_by_another_process_misses_no_step(capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = Pipe(duplex=False)
    bars: list[Drawn] = []

    def add(_fold: int, title: str, total: int) -> Drawn:
        bars.append(Drawn(title, total))
        return bars[-1]

    worker = Worker(None, ours, {}, [], 1, torch.device("cpu"), 1)  # type: ignore[arg-type]
    with piped_bar(_Sender(theirs), "fold 1", 100) as bar:
        for step in range(100):
            bar.update(0, f"loss {step}")
            bar.update()
    with said_by(lambda text, fields: theirs.send(("line", text, fields))):
        say("fold 1, epoch 1", fold=1)
    theirs.send(("error", ("DivergedError", "the loss", 9)))
    theirs.close()
    _listen(worker, add)
    (drawn,) = bars
    assert (drawn.title, drawn.total, drawn.done, drawn.text) == ("fold 1", 100, 100, "loss 99")
    assert capsys.readouterr().err == "fold 1, epoch 1\n"
    assert worker.error == [("DivergedError", "the loss", 9)]
    _listen(worker, add)  # the end of the pipe is no error


def test_a_parent_that_is_gone_does_not_stop_the_training() -> None:
    ours, theirs = Pipe(duplex=False)
    ours.close()
    with piped_bar(_Sender(theirs), "fold 1", 3) as bar:
        bar.update()
