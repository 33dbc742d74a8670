"""The report of a small real run, and of the same run with artifacts taken away or tampered with."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from tiny_cache import CLASSES, write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.artifacts.cache import read_samples, samples_path
from magsd_cli.artifacts.files import check_hash, read_json, record_hash, write_json
from magsd_cli.artifacts.operating_point import operating_path
from magsd_cli.artifacts.runs import metrics_path, open_run, predictions_path, provenance_path, weights_path
from magsd_cli.artifacts.tables import OUT_OF_FOLD, read_table, table_bytes, table_metadata, write_parquet
from magsd_cli.errors import ArtifactError, LockedError, UsageError
from magsd_cli.evaluation.calibrate import CalibrationTargets, calibrate
from magsd_cli.evaluation.external import read_external
from magsd_cli.evaluation.facts import gather_facts
from magsd_cli.evaluation.results import read_results
from magsd_cli.recipe import load_recipe
from magsd_cli.render.document import Drawing, Paragraph
from magsd_cli.report.report import report
from magsd_cli.report.sections.attention import attention_section
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    cache = write_tiny_cache(folder / "cache", count=18)
    recipe = load_recipe("base", [*TRAINING_KEYS, "train.epochs=1"])
    return cv(RunOptions(cache=cache, recipe=recipe, runs=folder, name="run", folds=2, device="cpu"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing and networks are what takes the time; only the whole report has its own."""
    if request.node.name == "test_the_whole_report":
        return
    monkeypatch.setattr("magsd_cli.render.charts.drawing", lambda _figure: Drawing(b"\x89PNG"))
    if "weights" not in request.node.name:
        monkeypatch.setattr(
            "magsd_cli.evaluation.attention.attention_by_row", lambda *_: ({}, "left out here")
        )


def copy_or_link(source: str, target: str) -> None:
    """Networks are hundreds of megabytes: tests get hard links, to be replaced and never written to."""
    if Path(source).stat().st_size > 2**20:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run with its cache, to be damaged at will."""
    shutil.copytree(trained.parent, tmp_path / "runs", copy_function=copy_or_link)
    run = tmp_path / "runs" / "run"
    values = read_json(run / "run.json")
    cache = Path(values["cache"]["path"]).name
    values["cache"]["path"] = str(tmp_path / "runs" / "cache" / cache)
    write_json(run / "run.json", values)
    record_hash(run / "run.json")
    return run


def _report(run: Path) -> str:
    path = report(runs_given=[run], runs=run.parent)
    assert path == run / "report.md"
    return path.read_text()


def test_the_whole_report(run: Path) -> None:
    text = _report(run)
    html = (run / "report.html").read_text()
    head = text[:1200]
    assert "Not for clinical diagnosis" in head
    assert "Not for clinical diagnosis" in html
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections[:2] == ["Summary", "Results"]
    assert {"Where the network looked", "Training curves", "Data", "Recipe", "Provenance"} <= set(sections)
    assert sections[-3:] == ["How to reproduce", "Model card", "Case gallery"]
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    assert text.count("](figures/") == html.count("<figure") >= 8
    for name in ("roc", "precision-recall", "net-benefit", "attention"):
        assert (run / "figures" / f"{name}.png").exists()
    tested = len(read_table(predictions_path(run), OUT_OF_FOLD))
    assert f"Shown are {tested} of {tested} tested images" in text
    assert html.count('alt="Chest X-ray, and again with the attention over it: ') == tested


def test_the_figures_are_scikit_learns(run: Path) -> None:
    table = read_table(predictions_path(run), OUT_OF_FOLD).to_pandas()
    accuracy = [sk.accuracy_score(part["label"], part["predicted"]) for _, part in table.groupby("fold")]
    auc = np.mean([sk.roc_auc_score(table["label"] == name, table[f"p_{name}"]) for name in CLASSES])
    lines = _report(run).splitlines()
    row = next(line for line in lines if line.startswith("| mean ± SD"))
    assert f"{100 * np.mean(accuracy):.2f}\u00a0±\u00a0{100 * np.std(accuracy, ddof=1):.2f}" in row
    pooled = next(line for line in lines if line.startswith("| all images pooled"))
    assert f"{100 * auc:.2f} |" in pooled


def test_again_it_writes_the_same_and_touches_nothing_else(run: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    first = _report(run)
    pictures = {p: p.read_bytes() for p in (run / "figures").iterdir()}
    assert _report(run) == first
    assert {p: p.read_bytes() for p in (run / "figures").iterdir()} == pictures
    assert {p: p.read_bytes() for p in before} == before
    for path in (run / "report.md", run / "report.html", *(run / "figures").glob("*.png")):
        check_hash(path)


def test_a_foreign_report_is_not_overwritten(run: Path) -> None:
    (run / "report.md").write_text("my notes")
    with pytest.raises(UsageError, match="not written by"):
        _report(run)
    assert (run / "report.md").read_text() == "my notes"


def test_the_newest_run_is_found_and_out_is_used(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = report(runs_given=[], runs=run.parent, out=run.parent / "elsewhere")
    assert path == run.parent / "elsewhere" / "report.md"
    assert "the newest run" in capsys.readouterr().err
    assert not (run / "report.md").exists()


def _remove(path: Path) -> None:
    path.unlink()
    path.with_name(path.name + ".sha256").unlink(missing_ok=True)


#: Each artifact of a claim: its files, and what the report says without it.
OPTIONAL = {
    "metrics": (lambda run, cache: [metrics_path(run)], "metrics.json is missing"),
    "predictions": (lambda run, cache: [predictions_path(run)], "predictions.parquet is missing"),
    "cache": (lambda run, cache: [cache], "the samples table of the cache|the cache .* is missing"),
    "samples": (lambda run, cache: [samples_path(cache)], "the samples table of the cache"),
    "operating": (lambda run, cache: [operating_path(run)], "operating.json is missing"),
    "provenance": (lambda run, cache: [provenance_path(run)], "provenance.json is missing"),
    "history": (lambda run, cache: [*run.glob("fold*/history.parquet")], "no fold has a history"),
    "weights": (lambda run, cache: [weights_path(run, 0), weights_path(run, 1)], "weights are missing"),
    "folds": (lambda run, cache: [run / "folds.parquet"], "nothing was localized"),
    "localization": (lambda run, cache: [], "nothing was localized with this run"),
}


@pytest.mark.parametrize("gone", OPTIONAL)
def test_what_is_deleted_is_not_available(run: Path, gone: str) -> None:
    files, words = OPTIONAL[gone]
    for path in files(run, open_run(run).cache_path):
        assert path.exists()
        _remove(path)
    text = _report(run)
    assert re.search("not available", text, re.IGNORECASE)
    assert re.search(words, text.replace("\\_", "_"))


def test_the_operating_point_and_what_it_means_where_it_is_used(run: Path) -> None:
    assert "no threshold has been chosen" in _report(run)
    calibrate(run=run, runs=run.parent, targets=CalibrationTargets(CLASSES[0], "sensitivity", 0.8, 0.9))
    path = report(runs_given=[run], runs=run.parent, prevalence=0.05)
    text = path.read_text()
    assert f"An image is called {CLASSES[0]} where its calibrated probability is at least" in text
    assert "as you stated: 5%" in text
    assert "Leaving images to a reader" in text
    assert (run / "figures" / "coverage.png").exists()
    operating_path(run).write_text("{}")
    with pytest.raises(ArtifactError, match="SHA-256"):
        report(runs_given=[run], runs=run.parent)


def test_without_weights_there_is_no_attention(run: Path) -> None:
    _remove(weights_path(run, 0))
    blocks = attention_section(gather_facts(read_results(run), run.parent))
    words = " ".join(block.text for block in blocks if isinstance(block, Paragraph))
    assert "Attention is not available: a fold's weights are missing" in words


def test_without_any_result_there_is_no_report(run: Path) -> None:
    _remove(metrics_path(run))
    _remove(predictions_path(run))
    with pytest.raises(ArtifactError, match="no results"):
        _report(run)


def _rewrite(run: Path, frame: pd.DataFrame) -> None:
    path = predictions_path(run)
    head = table_metadata(read_table(path, OUT_OF_FOLD))
    path.write_bytes(table_bytes(frame, OUT_OF_FOLD, head))
    record_hash(path)


def test_a_table_that_is_damaged_or_another_is_refused(run: Path) -> None:
    path = predictions_path(run)
    good = path.read_bytes()
    frame = read_table(path, OUT_OF_FOLD).to_pandas()
    path.write_bytes(good[:-20])
    with pytest.raises(ArtifactError, match="footer"):
        _report(run)
    path.write_bytes(good)
    _rewrite(run, frame.iloc[1:])
    with pytest.raises(ArtifactError, match=r"folds\.parquet"):
        _report(run)
    path.write_bytes(good)
    record_hash(path)
    metrics = read_json(metrics_path(run))
    metrics["mean"]["accuracy"] = 0.999
    write_json(metrics_path(run), metrics)
    record_hash(metrics_path(run))
    with pytest.raises(ArtifactError, match="does not match"):
        _report(run)


def test_weights_of_another_run_are_refused(run: Path) -> None:
    weights_path(run, 0).unlink()
    shutil.copy(weights_path(run, 1), weights_path(run, 0))
    record_hash(weights_path(run, 0))
    with pytest.raises(ArtifactError, match="networks other than"):
        _report(run)


def _change_samples(run: Path, **columns: object) -> None:
    cache = open_run(run).cache_path
    write_parquet(samples_path(cache), read_samples(cache).assign(**columns))


def test_a_source_that_gives_the_class_away_is_said_first(run: Path) -> None:
    cache = open_run(run).cache_path
    labels = read_samples(cache)["label"]
    _change_samples(run, source=["north" if label == CLASSES[0] else "south" for label in labels])
    text = _report(run)
    assert "come from other sources" in text[: text.index("## Summary")]
    _change_samples(run, source=["north" if i % 2 else "south" for i in range(len(labels))])
    assert "come from other sources" not in _report(run)


def test_hostile_names_do_no_harm(run: Path) -> None:
    _change_samples(run, source="<script>alert(1)</script>|`x`\n")
    text = _report(run)
    assert "<script" not in text
    assert "<script>alert" not in (run / "report.html").read_text()


def test_unknown_patients_are_said_first(run: Path) -> None:
    frame = read_table(predictions_path(run), OUT_OF_FOLD).to_pandas()
    _rewrite(run, frame.assign(patient_id=""))
    text = _report(run)
    assert "same patient is not known" in text[: text.index("## Summary")]


def test_a_patient_in_two_folds_is_said_first(run: Path) -> None:
    frame = read_table(predictions_path(run), OUT_OF_FOLD).to_pandas()
    _rewrite(run, frame.assign(patient_id="one and the same"))
    text = _report(run)
    assert "more than one fold" in text[: text.index("## Summary")]


def test_several_runs_are_compared(run: Path, trained: Path) -> None:
    path = report(runs_given=[run, trained], runs=run.parent)
    assert path.parent.parent == run.parent / "comparisons"
    text = path.read_text()
    assert "Comparison of 2 runs" in text
    table = [line for line in text.splitlines() if run.name in line and "\u00a0±\u00a0" in line]
    assert len(table) == 2
    assert "figures/confusions.png" in text
    assert "Differences from the best run" in text
    assert not (run / "report.md").exists()


def test_outside_data_is_scored(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "outside.csv"
    path.write_text("label,p_bright,p_dark\nbright,0.9,0.1\ndark,0.6,0.4\ndark,0.2,0.8\nbright,0.7,0.3\n")
    text = report(runs_given=[run], runs=run.parent, external=path).read_text()
    section = text[text.index("## Outside data") :]
    assert "| all images | 4 | 75.00 |" in section


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("label,p_bright\nbright,1\n", "column p_dark is missing"),
        ("label,p_bright,p_dark\nfracture,1,0\n", "row 2: its label is none of bright, dark"),
        ("label,p_bright,p_dark\nbright,1,0\ndark,1,1\n", "row 3: its probabilities"),
        ("label,p_bright,p_dark\n", "no rows"),
    ],
)
def test_outside_data_that_cannot_be_is_refused(run: Path, tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "outside.csv"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=reason):
        read_external(path, None, CLASSES, "")


def test_a_second_writer_is_locked_out(run: Path) -> None:
    from magsd_cli.artifacts.files import lock

    with lock(run / ".report.lock"), pytest.raises(LockedError):
        _report(run)


def test_the_model_card_stands_beside_the_report(run: Path) -> None:
    _report(run)
    card = (run / "model_card.md").read_text()
    assert "Not for clinical diagnosis" in card[:120]
    assert "not reported" in card
    assert "(model_card.md)" in (run / "report.md").read_text()
    page = (run / "report.html").read_text()
    assert 'href="#model-card">Model card</a>' in page
    assert "model_card.md" not in page
    assert "TRIPOD+AI (Collins et al." in page
    (run / "model_card.md").write_text("my own card")
    with pytest.raises(UsageError, match="not written by"):
        _report(run)
    assert (run / "model_card.md").read_text() == "my own card"
