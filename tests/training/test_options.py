"""What the command line hands to training: every option, the line itself, and the names made from them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from magsd_cli.cli import main
from magsd_cli.evaluation.calibrate import UNCHANGED, CalibrationTargets
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Group, Parallel
from magsd_cli.tools import demo as demo_module
from magsd_cli.training import run as run_module
from magsd_cli.training import suite as suite_module
from magsd_cli.training.plan import RunOptions, default_name
from magsd_cli.training.suite import _default_name


def test_verbose_has_a_line_for_each_section_of_the_recipe() -> None:
    first, *sections = run_module.recipe_lines(load_recipe("cpu", ["seed=3"]))
    assert first.startswith("title ")
    assert "seed 3" in first
    names = [line.partition(":")[0] for line in sections]
    assert names == sorted(set(names))
    assert any(line.startswith("train: ") and ", epochs 7," in line for line in sections)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """What started this process, whatever `main` is given."""
    monkeypatch.setattr(sys, "argv", ["/bin/magsd", "some", "command line"])
    return ("/bin/magsd", "some", "command line")


def given_to(monkeypatch: pytest.MonkeyPatch, kind: str, *words: str) -> RunOptions:
    """The options that the command of `kind` makes of `words`; `train_run` gets them, and does nothing."""
    found: list[RunOptions] = []

    def note(_kind: str, options: RunOptions) -> Path:
        found.append(options)
        return options.runs / "run"

    monkeypatch.setattr(run_module, "train_run", note)
    with pytest.raises(SystemExit) as ended:
        main([kind, *words])
    assert ended.value.code == 0
    return found[0]


def test_train_gets_its_options_and_the_line(monkeypatch, line, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("s.csv").touch()
    words = ("--runs", "there", "--cache", "c", "--recipe", "cpu", "--seed", "3", "--name", "n",
             "--gpus", "2", "--splits", "s.csv", "--device", "cpu", "--tensorboard")  # fmt: skip
    assert given_to(monkeypatch, "train", *words) == RunOptions(
        Path("there"), Path("c"), load_recipe("cpu", ["seed=3"]), "n", splits=Path("s.csv"), device="cpu",
        gpus=2, parallel=Parallel.ddp, tensorboard=True, command=line,
    )  # fmt: skip
    assert capsys.readouterr().out == "there/run\n"


def test_cv_gets_its_options_and_the_line(monkeypatch, line):
    words = ("--folds", "3", "--group", "source", "--parallel", "ddp", "--positive", "a", "--coverage", "0.9",
             "--target-sensitivity", "0.95", "--set", "train.epochs=2")  # fmt: skip
    assert given_to(monkeypatch, "cv", *words) == RunOptions(
        Path("runs"), recipe=load_recipe("base", ["train.epochs=2"]), folds=3, group=Group.source,
        parallel=Parallel.ddp, targets=CalibrationTargets("a", "sensitivity", 0.95, 0.9), command=line,
    )  # fmt: skip
    options = given_to(monkeypatch, "cv", "--cluster", "auto")
    assert (options.cluster, options.targets) == ("auto", UNCHANGED)


def test_a_resumed_run_keeps_its_recipe_unless_another_is_asked_for(monkeypatch):
    options = given_to(monkeypatch, "cv", "--resume", "r")
    assert (options.resume, options.recipe) == (Path("r"), None)
    assert given_to(monkeypatch, "cv", "--resume", "r", "--seed", "0").recipe == load_recipe("base")


def test_a_suite_gets_the_line(monkeypatch, line, tmp_path):
    found: list[RunOptions] = []
    monkeypatch.setattr(suite_module, "cv", lambda options: found.append(options) or tmp_path / "run")
    with pytest.raises(SystemExit):
        main(["--runs", str(tmp_path), "cv", "--recipe", "table5", "--name", "s", "--folds", "3"])
    assert {options.recipe.title for options in found} == {
        load_recipe(f"table5/{name}_scale{'s' * (name != 'one')}").title for name in ("one", "two", "three")
    }
    assert {(options.name, options.folds, options.command) for options in found} == {(None, 3, line)}
    assert suite_module.read_suite(tmp_path / "s")[1] == list(line)


def test_repeats_of_one_recipe_are_a_suite(monkeypatch, line, tmp_path, capsys):
    found: list[RunOptions] = []
    monkeypatch.setattr(suite_module, "cv", lambda options: found.append(options) or tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(
            ["--runs", str(tmp_path), "cv", "--recipe", "cpu", "--repeats", "3", "--seed", "7", "--name", "s"]
        )
    assert ended.value.code == 0
    assert [options.recipe.seed for options in found] == [7, 8, 9]
    assert {options.recipe.title for options in found} == {load_recipe("cpu").title}
    assert capsys.readouterr().out == f"{tmp_path / 's'}\n"
    with pytest.raises(SystemExit) as ended:
        main(["cv", "--repeats", "2", "--resume", "r"])
    assert ended.value.code == 2
    assert "goes with one recipe and no --repeats" in capsys.readouterr().err


def test_the_demo_gets_the_line(monkeypatch, line):
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo_module, "demo", lambda **given: found.append(given["command"]) or Path("r"))
    with pytest.raises(SystemExit):
        main(["demo"])
    assert found == [line]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (RunOptions(Path("runs")), "suite-one-scale-cpu-scratch-eb088159"),
        (
            RunOptions(Path("runs"), Path("runs/cache-a"), folds=3, splits=Path("s.csv"), group=Group.source),
            "suite-one-scale-cpu-scratch-9c74049e",
        ),
    ],
)
def test_suites_are_found_again_by_the_names_they_have(options, name):
    """The same line finds the same suite, as long as its recipes are the same."""
    recipes = {recipe: load_recipe(recipe, ["seed=4"]) for recipe in ("table5/one_scale", "cpu_scratch")}
    assert _default_name(list(recipes), recipes, options) == name


def test_runs_are_found_again_by_the_names_they_have():
    """The hash of commit 5baafe2, whose recipe cpu this is."""
    cache = SimpleNamespace(path=Path("runs/a b.h5"), digest="ab" * 32)
    table = pd.DataFrame({"fold": [0, 1, 0, 1]})
    found = default_name("cv", load_recipe("cpu_scratch"), cache, table)  # type: ignore[arg-type]
    assert found == "cv-mag-sd-small-from-scratc-a-b-9848c823"
