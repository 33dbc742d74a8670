"""Suites: several recipes, a folder of them, one run for rows that are alike, and what happens in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import KEYS, write_xrays

from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.runs import open_run
from magsd_cli.artifacts.suites import expand, is_suite, read_suite
from magsd_cli.errors import ArtifactError, Interrupted, UsageError
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Preprocessing
from magsd_cli.training import suite as stage
from magsd_cli.training.folds import folds_table
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.suite import suite

ROWS = ("one", "same", "other")


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, name in enumerate(ROWS):
        seed = 5 if name == "other" else 4
        paper = f'[paper]\ntable = 7\nrow = "row {number}"\n'
        (folder / f"{name}.toml").write_text(f'title = "{name}"\nseed = {seed}\n{paper}')
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    prepare(
        PrepareOptions(
            [write_xrays(tmp_path / "xrays")], tmp_path / "runs", preprocessing=Preprocessing(64), workers=1
        )
    )
    return tmp_path / "runs"


def options(runs: Path, name: str | None = "s") -> RunOptions:
    return RunOptions(runs, name=name, folds=2, device="cpu", command=("magsd", "cv"))


def test_what_is_a_suite(tmp_path: Path) -> None:
    assert is_suite(["table5"])
    assert is_suite(["cpu", "demo"])
    assert not is_suite(["table5/one_scale"])
    assert expand(["table5", "table5/one_scale", "cpu"]) == [
        "table5/one_scale", "table5/three_scales", "table5/two_scales", "cpu",
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no recipe \(\*.toml\)"):
        expand([str(tmp_path / "empty")])


def test_rows_that_are_alike_share_a_run(one_thread: None, recipes: Path, runs: Path) -> None:
    settings = [*KEYS, "train.epochs=1"]
    folder, code = suite([str(recipes)], settings, options(runs))
    rows, command = read_suite(folder)
    assert command == ["magsd", "cv"]
    found = {row.title: row for row in rows}
    assert code == 0
    assert found["one"].run == found["same"].run != found["other"].run
    assert (found["one"].table, found["same"].row) == (7, "row 1")
    assert all((runs / row.run / "metrics.json").exists() for row in rows if row.run)
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}
    assert suite([str(recipes)], settings, options(runs)) == (folder, 0)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")} == before
    (recipes / "one.toml").unlink()
    with pytest.raises(ArtifactError, match="other recipes"):
        suite([str(recipes)], settings, options(runs))


def test_a_row_that_cannot_run_does_not_stop_the_others(
    one_thread: None, recipes: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipes / "faint.toml").write_text("[image]\nclip_limit = 2.0\n")
    folder, code = suite([str(recipes)], [*KEYS, "train.epochs=1"], options(runs, None))
    rows, _ = read_suite(folder)
    assert code == 5
    assert [row.title for row in rows if row.problem] == [str(recipes / "faint.toml")]
    assert "image.clip_limit=2.0 is asked for" in next(row.problem for row in rows if row.problem)
    assert all(row.run for row in rows if not row.problem)
    assert "3 of 4 rows done" in capsys.readouterr().err


def test_an_interrupted_suite_goes_on(
    one_thread: None, recipes: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = stage.cv

    def stops_at_the_second(given: RunOptions) -> Path:
        assert given.recipe is not None
        made.append(given.recipe.seed)
        if made == [4, 5]:
            raise Interrupted(15, "stopped, saved")
        return real(given)

    monkeypatch.setattr(stage, "cv", stops_at_the_second)
    settings = [*KEYS, "train.epochs=1"]
    with pytest.raises(Interrupted):
        suite([str(recipes)], settings, options(runs))
    rows, _ = read_suite(runs / "s")
    assert {row.title: row.run is not None for row in rows} == {"one": True, "same": True, "other": False}
    assert suite([str(recipes)], settings, options(runs))[1] == 0
    assert all(row.run for row in read_suite(runs / "s")[0])


def test_repeats_are_ordinary_runs_with_seeds_and_folds_of_their_own(
    one_thread: None, recipes: Path, runs: Path
) -> None:
    settings = [*KEYS, "train.epochs=1"]
    (recipes / "same.toml").unlink()
    alone = stage.cv(replace(options(runs, None), recipe=load_recipe(str(recipes / "one.toml"), settings)))
    folder, code = suite([str(recipes)], settings, replace(options(runs), repeats=2))
    rows, _ = read_suite(folder)
    found = {(row.title, row.repeat): row.run for row in rows}
    assert code == 0
    assert [(row.title, row.repeat) for row in rows] == [("one", 0), ("other", 0), ("one", 1), ("other", 1)]
    assert {(row.table, row.row) for row in rows if row.title == "one"} == {(7, "row 0")}
    assert found["one", 0] == alone.name  # the first repeat is what the recipe makes without repeats
    assert found["one", 1] == found["other", 0]  # seeds 4, 5 and 5, 6: one run
    made = [open_run(runs / str(found[place])) for place in (("one", 0), ("one", 1), ("other", 1))]
    assert [run.recipe.seed for run in made] == [4, 5, 6]
    assert len({tuple(run.folds()["fold"]) for run in made}) > 1
    for run in made:
        assert run.folds().equals(folds_table(open_cache(run.cache_path), 2, run.recipe.seed))


def test_a_suite_grows_with_its_repeats_and_never_shrinks(
    one_thread: None, recipes: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def only_notes(given: RunOptions) -> Path:
        assert given.recipe is not None
        seeds.append(given.recipe.seed)
        return runs / f"run-{given.recipe.seed}"

    monkeypatch.setattr(stage, "cv", only_notes)
    recipe = str(recipes / "one.toml")
    assert suite([recipe], KEYS, options(runs)) == (runs / "s", 0)
    for repeats, rows in ((3, 3), (2, 3), (1, 3), (4, 4)):
        assert suite([recipe], KEYS, replace(options(runs), repeats=repeats)) == (runs / "s", 0)
        assert [(row.repeat, row.run) for row in read_suite(runs / "s")[0]] == [
            (repeat, f"run-{4 + repeat}") for repeat in range(rows)
        ]
    assert seeds == [4, 4, 5, 6, 4, 5, 4, 4, 5, 6, 7]
    names = {suite([recipe], KEYS, replace(options(runs, None), repeats=repeats))[0] for repeats in (2, 3)}
    assert len(names) == 1
    assert names.isdisjoint({suite([recipe], KEYS, options(runs, None))[0]})


def test_there_must_be_seeds_for_the_repeats(recipes: Path, runs: Path) -> None:
    last = [*KEYS, f"seed={2**63 - 1}"]
    with pytest.raises(UsageError, match="leaves no seeds for --repeats"):
        suite([str(recipes / "one.toml")], last, replace(options(runs), repeats=2))
