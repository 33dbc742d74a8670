"""`magsd cv --group source`: what is held out, what is undefined, and what the report says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_cache import write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.artifacts.cache import read_samples, samples_path
from magsd_cli.artifacts.files import read_json
from magsd_cli.artifacts.runs import metrics_path, open_run
from magsd_cli.artifacts.tables import write_parquet
from magsd_cli.errors import UsageError
from magsd_cli.recipe import load_recipe
from magsd_cli.render.document import Drawing
from magsd_cli.report.report import report
from magsd_cli.settings import Group
from magsd_cli.training.folds import SMALL
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv

pytestmark = pytest.mark.usefixtures("one_thread")


def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is what takes the time of a report."""
    monkeypatch.setattr("magsd_cli.render.charts.drawing", lambda _figure: Drawing(b"\x89PNG"))
    monkeypatch.setattr("magsd_cli.evaluation.attention.attention_by_row", lambda *_: ({}, "left out here"))


def _cache(folder: Path) -> Path:
    """Twelve patients of three images: north has both classes, west one, the others few images."""
    cache = write_tiny_cache(folder / "cache", count=36)
    patient = read_samples(cache)["patient_id"].str.removeprefix("patient").astype(int)
    source = patient.map(lambda p: "north" if p < 4 else "west" if p % 2 == 0 else f"east{p}")
    write_parquet(samples_path(cache), read_samples(cache).assign(source=source))
    return cache


def test_each_source_is_tested_by_a_network_that_saw_none_of_it(tmp_path, monkeypatch, capsys):
    cache = _cache(tmp_path)
    recipe = load_recipe("base", [*TRAINING_KEYS, "train.epochs=1"])
    path = cv(
        RunOptions(cache=cache, recipe=recipe, runs=tmp_path, name="run", device="cpu", group=Group.source)
    )
    run = open_run(path)
    assert run.held_out == ("north", SMALL, "west")
    assert run.folds().groupby("patient_id")["fold"].nunique().max() == 1
    assert "held out: west, 12 images (bright 12)" in capsys.readouterr().err
    folds = read_json(metrics_path(path))["folds"]
    assert [fold["held_out"] for fold in folds] == list(run.held_out)
    assert folds[2]["auc"] is None
    assert folds[2]["undefined"]["auc"]
    _quiet(monkeypatch)
    text = report(runs_given=[path], runs=tmp_path).read_text()
    assert "leave-one-source-out" in text
    assert "| held out: west | 12 |" in text
    section = text[text.index("### Sources held out") :]
    assert "| north | 12 | 6 / 6 |" in section


def test_a_class_that_is_a_source_is_never_learnt_and_that_is_said(tmp_path, monkeypatch, capsys):
    cache = write_tiny_cache(tmp_path / "cache", count=24)
    samples = read_samples(cache)
    write_parquet(samples_path(cache), samples.assign(source="from " + samples["label"]))
    recipe = load_recipe("base", [*TRAINING_KEYS, "train.epochs=1"])
    path = cv(
        RunOptions(cache=cache, recipe=recipe, runs=tmp_path, name="run", device="cpu", group=Group.source)
    )
    assert "never sees one" in capsys.readouterr().err
    _quiet(monkeypatch)
    text = report(runs_given=[path], runs=tmp_path).read_text()
    assert "All images of bright are from from bright" in text
    assert "the others of some fold lack a class" in text


def test_splits_and_sources_do_not_go_together(tmp_path):
    recipe = load_recipe("base", TRAINING_KEYS)
    with pytest.raises(UsageError, match="--group source"):
        cv(RunOptions(
            cache=_cache(tmp_path), recipe=recipe, runs=tmp_path, device="cpu",
            group=Group.source, splits=tmp_path / "splits.csv",
        ))  # fmt: skip
