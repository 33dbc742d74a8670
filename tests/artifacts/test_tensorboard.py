"""Curves for TensorBoard: each epoch once, also after a kill; and none where they are not wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from magsd_cli.artifacts.tensorboard import check_tensorboard, scalar_writer, scalars_path
from magsd_cli.errors import UsageError


def rows(count: int) -> list[dict[str, float]]:
    return [{"epoch": float(i + 1), "loss": 1 / (i + 1)} for i in range(count)]


@pytest.mark.filterwarnings("ignore")
def test_each_epoch_is_there_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with scalar_writer(tmp_path, 1, 0, True) as write:
        for epochs in (1, 2, 3):
            write(rows(epochs))
    with scalar_writer(tmp_path, 1, 2, True) as write:  # epoch 3 was not saved: it is trained again
        for epochs in (3, 4):
            write(rows(epochs))
    events = EventAccumulator(str(scalars_path(tmp_path) / "fold1"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert events.Scalars("loss")[3].value == pytest.approx(0.25)


def test_nothing_is_written_that_is_not_wanted(tmp_path: Path) -> None:
    with scalar_writer(tmp_path, 0, 0, False) as write:
        write(rows(2))
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"\.\[tensorboard\]"):
        check_tensorboard()
