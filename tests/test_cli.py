"""The command line: exit codes, one-line errors, global options anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from magsd_cli.cli import _globals_first, main


def _run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["recipes", "list"], 0),
        (["recipes", "show", "base", "--keys"], 0),
        (["recipes", "show", "nowhere"], 2),
        (["cv", "--no-such-option"], 2),
        (["cv", "--folds", "1"], 2),
        (["predict"], 2),
        (["nonsense"], 2),
        (["train", "--recipe", "nowhere"], 2),
        (["cv", "--set", "train.epoch=2"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(arguments) == code
    lines = capfd.readouterr().err.splitlines()
    if code:
        assert len(lines) == 1
        assert lines[0].startswith("magsd: error: ")


def test_global_options_may_stand_anywhere() -> None:
    given = ["cv", "--runs", "r", "--debug", "--folds", "3", "--log-format=json", "--", "--runs"]
    expected = ["--runs", "r", "--debug", "--log-format=json", "cv", "--folds", "3", "--", "--runs"]
    assert _globals_first(given) == expected


def test_errors_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    import json

    assert _run(["recipes", "show", "nowhere", "--log-format", "json"]) == 2
    assert json.loads(capfd.readouterr().err)["level"] == "error"


def test_recipes_copy_never_overwrites(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.toml"
    assert _run(["recipes", "copy", "base", str(target)]) == 0
    before = target.read_bytes()
    assert _run(["recipes", "copy", "base", str(target)]) == 2
    assert target.read_bytes() == before
    assert "exists" in capfd.readouterr().err


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "magsd_cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("magsd ")
