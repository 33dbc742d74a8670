"""Progress where nobody watches: a line now and then."""

from __future__ import annotations

import pytest

from magsd_cli import console


def test_a_log_gets_lines_with_the_total_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    for total in (10, None):
        with console.progress("predict", total) as bar:
            for _ in range(4):
                clock[0] += 20
                bar.update(2, "0.1 images/s")
    assert capsys.readouterr().err.splitlines() == [
        "predict: 4 of 10, 0.1 images/s",
        "predict: 8 of 10, 0.1 images/s",
        "predict: 4, 0.1 images/s",
        "predict: 8, 0.1 images/s",
    ]
