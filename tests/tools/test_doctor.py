"""doctor says what is there, and never fails itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from magsd_cli.tools import doctor as stage
from magsd_cli.tools.doctor import Finding, doctor


def test_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(runs=tmp_path / "runs") == 0
    said = capsys.readouterr().out
    for word in ("magsd", "processor", "torch", "pyarrow", "GPU", "DICOM", "ImageNet weights", "newest run"):
        assert word in said
    assert not (tmp_path / "runs").exists()


def test_a_check_that_fails_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def _broken(_runs: Path) -> Iterator[Finding]:
        yield Finding("ok", "first", "fine")
        raise RuntimeError("out of order")

    monkeypatch.setattr(stage, "CHECKS", (_broken,))
    assert doctor(runs=tmp_path) == 1
    said = capsys.readouterr().out
    assert "problem broken" in said
    assert "1 problem," in said
