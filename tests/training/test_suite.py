"""Suites: several recipes, a folder of them, one run for rows that are alike, and what happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import KEYS, write_xrays

from magsd_cli.artifacts.suites import read_suite
from magsd_cli.errors import ArtifactError, Interrupted, UsageError
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.settings import Preprocessing
from magsd_cli.training import suite as stage
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.suite import expand, is_suite, suite

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
