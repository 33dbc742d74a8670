"""The command line: exit codes, one-line errors, global options anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from magsd_cli.cli import GROUPS, _globals_first, app, main
from magsd_cli.recipe import Recipe, recipe_names, resolved_keys


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


def test_quiet_and_verbose_may_stand_anywhere() -> None:
    assert _globals_first(["cv", "-q", "--verbose"]) == ["-q", "--verbose", "cv"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cv --fold 3", "did you mean --folds? see magsd cv --help"),
        ("cvv", "Did you mean 'cv'? see magsd --help"),
        ("xyz", "No such command 'xyz'; see magsd --help"),
        ("runs lst", "Did you mean 'list'? see magsd runs --help"),
        ("cv --target-sensitivity 95", "95 is not between 0 and 1; did you mean 0.95?"),
        ("calibrate --target-specificity 97.5", "did you mean 0.975?"),
        ("calibrate --coverage 0", "0 is less than 0.01"),
        ("report --prevalence 300", "300 is not between 0 and 1; see"),
        ("export --margin nan", "nan is not between 0 and 1"),
        ("recipes validate nothing.toml", "nothing.toml: is missing"),
        ("-q -v doctor", "omit one of them"),
    ],
)
def test_what_errors_say(line: str, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(line.split()) == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith("magsd: error: ")
    assert words in said
    if line == "xyz":
        assert "mean" not in said


@pytest.mark.parametrize(
    "line", ["train --cache no.h5", "predict x.png --model no", "report no", "runs show no", "verify no"]
)
def test_what_is_missing_is_said_to_be(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(line.split()) == 5
    said = capfd.readouterr().err.splitlines()[-1]
    assert "missing" in said or "not found" in said or "no run of that name" in said
    assert "damaged" not in said


def test_the_help_has_every_command_once_in_80_columns(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert _run(["-h"]) == 0
    text = capfd.readouterr().out
    assert "..." not in text.split("Options:")[1]
    names = [name for group in GROUPS.values() for name in group]
    lines = [line.split()[0] for line in text.splitlines() if re.match(r"  [a-z]+  +[A-Z]", line)]
    assert lines == [name for name in names if name in lines]
    assert set(lines) == set(get_command(app).commands)
    assert max(map(len, text.splitlines())) <= 80


def test_every_command_has_its_help(capfd: pytest.CaptureFixture[str]) -> None:
    for name in get_command(app).commands:
        assert _run([name, "-h"]) == 0
        assert f"Usage: magsd {name}" in capfd.readouterr().out


def test_quiet_says_errors_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run(["-q", "runs", "clean", "--runs", str(tmp_path)]) == 0
    assert capfd.readouterr().err == ""
    assert _run(["runs", "clean", "--runs", str(tmp_path)]) == 0
    assert "nothing to clean" in capfd.readouterr().err
    assert _run(["-v", "runs", "clean", "--runs", str(tmp_path)]) == 0
    assert f"runs folder {tmp_path}" in capfd.readouterr().err
    assert _run(["-q", "verify", str(tmp_path / "no")]) == 5
    assert "error" in capfd.readouterr().err


def test_completion(tmp_path: Path) -> None:
    def magsd(*words: str, **environment: str) -> str:
        command = [sys.executable, "-m", "magsd_cli", *words]
        known = os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"} | environment
        return subprocess.run(command, env=known, capture_output=True, text=True, check=True).stdout

    asked = {"_MAGSD_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "magsd pre"}
    assert magsd(**asked).split() == ["prepare", "predict"]
    asked = {"_MAGSD_COMPLETE": "complete_bash", "COMP_CWORD": "3", "COMP_WORDS": "magsd cv --recipe table5/"}
    assert magsd(**asked).split() == [name for name in recipe_names() if name.startswith("table5/")]
    assert "_MAGSD_COMPLETE" in magsd("--show-completion")
    assert list(tmp_path.iterdir()) == []
    magsd("--install-completion")
    assert "_MAGSD_COMPLETE" in (tmp_path / ".bash_completions/magsd.sh").read_text()
    assert "magsd.sh" in (tmp_path / ".bashrc").read_text()


def test_recipes_validate_and_schema(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import json

    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('extends = "cpu"\n[train]\nepochs = 3\n')
    bad.write_text('[train]\nepoch = 3\nlr = "x"\n')
    assert _run(["recipes", "validate", str(good)]) == 0
    capfd.readouterr()
    assert _run(["recipes", "validate", str(bad), str(good)]) == 2
    said = capfd.readouterr().err
    assert "did you mean train.epochs?" in said
    assert "train.lr='x'" in said
    assert _run(["recipes", "schema"]) == 0
    schema = json.loads(capfd.readouterr().out)
    assert schema["additionalProperties"] is False
    assert {"extends", "model", "train", "image", "seed"} <= set(schema["properties"])
    sections = {name: schema["$defs"][part["$ref"].split("/")[-1]]["properties"]
                for name, part in schema["properties"].items() if "$ref" in part}  # fmt: skip
    for key, value in resolved_keys(Recipe()):
        section, _, name = key.partition(".")
        if section in sections and "." not in name:
            assert sections[section][name].get("default", json.loads(value)) == json.loads(value), key


def test_errors_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    import json

    assert _run(["recipes", "show", "nowhere", "--log-format", "json"]) == 2
    assert json.loads(capfd.readouterr().err.splitlines()[0])["level"] == "error"


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
