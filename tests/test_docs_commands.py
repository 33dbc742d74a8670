"""Every `magsd ...` line of the documents parses, and every command and option that they name exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from magsd_cli.cli import _globals_first, app
from magsd_cli.commands.options import existing_file, existing_folder, existing_folders
from magsd_cli.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
MAGSD = get_command(app)
SCRIPTS = [ROOT / "docs" / "hospital" / "screen"]
#: Programs whose own options stand behind their name in a code span.
OTHERS = ("debootstrap", "pip", "ray", "python", "pytest", "bench/", "torchrun", "git", "systemctl")
#: Options that stand alone in a code span and are those of a script here.
FOREIGN = {"--pretend": "bench/gpu.sh", "--scratch": "bench/predict.py", "--profile": "bench/train.py"}
#: Ends of a command in a line of shell.
_ENDS = {"&&", "||", "|", ";", ">", ">>", "<", "2>", "2>>", "&"}
#: Words that may stand before a program's name: a prompt, a setting, a program that starts another.
_BEFORE = re.compile(r"\$|sudo|nohup|time|exec|\w+=.*")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*)")


def lines_of(text: str) -> Iterator[str]:
    """The lines of the blocks of shell, continued lines joined."""
    for kind, block in _BLOCK.findall(text):
        if kind in ("", "sh", "bash", "console"):
            yield from block.replace("\\\n", " ").splitlines()


def calls_in(line: str) -> list[list[str]]:
    """The arguments of each call of magsd in a line of shell: what stands behind the program's name."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in words that are no shell
        return []
    calls: list[list[str]] = []
    place = "command"  # where a program's name may stand; "magsd": behind it; "other": behind another one
    for word in words:
        if word in _ENDS or word.startswith(("2>", ">")):
            place = "command" if word in ("&&", "||", "|", ";") else "other"
        elif place == "magsd" and word == "${MORE:-}":  # further options of the reader
            continue
        elif place == "magsd":
            calls[-1].append(word.removesuffix(";"))
        elif (
            place == "command" and (word.rpartition("/")[2] == "magsd" or word == "$MAGSD")
        ) or word == "magsd_cli":
            calls.append([])
            place = "magsd"
        elif place == "command" and not _BEFORE.fullmatch(word):
            place = "other"
        if word.endswith(";"):
            place = "command"
    return calls


def options_of(command: Any) -> set[str]:
    return {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}


def commands_under(command: Any) -> Iterator[Any]:
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from commands_under(below)


EVERY_OPTION = {"--help", "-h"} | {word for command in commands_under(MAGSD) for word in options_of(command)}


def parse(arguments: list[str]) -> None:
    """Parse a command line as `magsd` would, and run nothing. Raises what the parser raises."""
    if set(arguments) & {"--help", "-h", "--version", "--install-completion", "--show-completion"}:
        return  # these act while the line is parsed; `problems_of` looks whether they exist
    context = MAGSD.make_context("magsd", _globals_first(arguments))
    command: Any = MAGSD
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        with _files_of_the_reader(command):
            context = command.make_context(name, rest, parent=context)
        rest = [*context._protected_args, *context.args] if hasattr(command, "commands") else []
    _check_recipe(context.params)


@contextmanager
def _files_of_the_reader(command: Any) -> Iterator[None]:
    """Options that refuse a file that is not there take any path: the reader has it."""
    ours = {one.__name__ for one in (existing_file, existing_folder, existing_folders)}
    paths = [one for one in command.params if getattr(one.callback, "__name__", None) in ours]
    callbacks = [parameter.callback for parameter in paths]
    for parameter in paths:
        parameter.callback = None
    try:
        yield
    finally:
        for parameter, callback in zip(paths, callbacks, strict=True):
            parameter.callback = callback


def _check_recipe(parameters: dict[str, Any]) -> None:
    """Load the recipe of train or cv with its changed keys, where they are not the reader's own files."""
    names = parameters.get("recipe") or ["base"]
    changes = [change for change in parameters.get("overrides") or () if "KEY=VALUE" not in change.upper()]
    for name in [names] if isinstance(names, str) else names:
        if (ROOT / "recipes" / f"{name}.toml").is_file() and not name.startswith("data/"):
            load_recipe(name, changes)


def problems_of(text: str) -> list[str]:
    """The calls in blocks that do not parse, and the commands and options in code spans that do not exist."""
    found = []
    for line in lines_of(text):
        for call in calls_in(line):
            try:
                parse(call)
            except Exception as error:
                found.append(f"{line.strip()}: {getattr(error, 'message', error)}")
    for span in _CODE.findall(_BLOCK.sub("", text)):
        words = span.split()
        command = MAGSD
        if words[:1] == ["magsd"]:
            for word in words[1:]:
                if not hasattr(command, "commands") or not re.fullmatch(r"[a-z]+", word):
                    break
                if word not in command.commands:
                    found.append(f"{span}: no command {word}")
                    break
                command = command.commands[word]
        known = options_of(command) | options_of(MAGSD) if command is not MAGSD else EVERY_OPTION
        if not words[0].removeprefix(".venv/bin/").startswith(OTHERS):
            known = known if command is not MAGSD else known | set(FOREIGN)
            found += [f"{span}: no option {word}" for word in _OPTION.findall(span) if word not in known]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_line_parses(document: Path) -> None:
    assert problems_of(document.read_text()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_command_line_of_a_script_parses(script: Path) -> None:
    text = f"```sh\n{script.read_text()}```\n"
    assert sum(map(len, map(calls_in, lines_of(text)))) > 0
    assert problems_of(text) == []


def test_options_of_scripts_are_theirs() -> None:
    for option, script in FOREIGN.items():
        assert option in (ROOT / script).read_text(), option


def test_the_documents_have_command_lines() -> None:
    calls = [
        call for path in DOCUMENTS for line in lines_of(path.read_text()) for call in calls_in(line) if call
    ]
    assert len(calls) > 30
    assert {"prepare", "cv", "predict", "localize", "report", "runs"} <= {call[0] for call in calls}


@pytest.mark.parametrize(
    "wrong",
    [
        "```sh\nmagsd cv --fold 3\n```\n",
        "```sh\n.venv/bin/magsd prepre ./xrays\n```\n",
        "```sh\nmagsd cv --folds many && magsd report\n```\n",
        "```sh\nmagsd train --recipe cpu --set train.epoch=2\n```\n",
        "```sh\nmagsd runs lst  # not there\n```\n",
        "```sh\nmagsd report --prevalence 5\n```\n",
        "`magsd locate films`",
        "`magsd predict --watch-twice`",
        "`--watch-twice`",
        "`magsd cv --watch-once`",
    ],
)
def test_a_wrong_line_is_seen(wrong: str) -> None:
    assert len(problems_of(wrong)) == 1


def test_a_line_of_shell_is_taken_apart() -> None:
    line = 'MAGSD_RUNS=r "$MAGSD" predict "$1" --out "$2" 2>>"$LOG"; magsd runs list | head  # two'
    assert calls_in(line) == [["predict", "$1", "--out", "$2"], ["runs", "list"]]
