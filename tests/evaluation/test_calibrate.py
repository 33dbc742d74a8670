"""calibrate: what is stored follows from the out-of-fold predictions, and predict does what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from tiny_onnx import tiny_onnx
from tiny_run import picture, write_tiny_run, write_xrays

from magsd_cli.artifacts.cache import samples_path
from magsd_cli.artifacts.model_file import model_file_path, open_model_file, write_model_file
from magsd_cli.artifacts.operating_point import OperatingPoint, operating_path, read_operating_point
from magsd_cli.artifacts.runs import fold_predictions_path, model_sha256, open_run
from magsd_cli.artifacts.tables import (
    PREDICTION,
    probability_column,
    read_table,
    table_metadata,
    write_parquet,
)
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.evaluation.calibrate import CalibrationTargets, calibrate, targets_from_options
from magsd_cli.evaluation.cross_validation import score
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.metrics.calibration import apply_temperature, fit_temperature
from magsd_cli.metrics.thresholds import SENSITIVITY, choose_threshold

TARGETS = CalibrationTargets("COVID-19", SENSITIVITY, 0.9)


@pytest.fixture
def run(tmp_path: Path, one_thread: None) -> Path:
    """A scored run on 40 pictures: overconfident answers that are mostly right."""
    write_xrays(tmp_path / "xrays", 40)
    path = write_tiny_run(tmp_path)
    opened = open_run(path)
    rng = np.random.default_rng(0)
    for fold, mine in opened.folds().groupby("fold"):
        positive = np.where(mine["label"] == "COVID-19", 1.0, -1.0)
        first = 1 / (1 + np.exp(-4 * (positive * 0.6 + rng.normal(0, 1, len(mine)))))
        table = mine[["image_id", "patient_id", "label", "fold"]].assign(path=mine["image_id"])
        table["predicted"] = np.where(first >= 0.5, "COVID-19", "Normal")
        table[probability_column("COVID-19")], table[probability_column("Normal")] = first, 1 - first
        write_parquet(fold_predictions_path(path, int(str(fold))), table)
    score(opened)
    return path


def _stored(run: Path) -> OperatingPoint:
    found = read_operating_point(run, model_sha256(open_run(run)))
    assert found is not None
    return found


def _out_of_fold(run: Path) -> tuple[Any, Any]:
    table = pd.read_parquet(run / "predictions.parquet")
    scores = table[["p_COVID-19", "p_Normal"]].to_numpy(np.float64)
    return (table["label"] == "Normal").to_numpy(int), scores


def test_what_is_stored_follows_from_the_predictions(run: Path) -> None:
    assert calibrate(
        run=run, runs=run.parent, targets=CalibrationTargets("COVID-19", SENSITIVITY, 0.9, 0.8)
    ) == operating_path(run)
    stored = _stored(run)
    truth, scores = _out_of_fold(run)
    temperature = fit_temperature(truth, scores)
    assert temperature > 1.5  # they were made overconfident
    assert stored.temperature.value == pytest.approx(temperature)
    assert stored.temperature.cross_fitted is not None
    assert stored.temperature.cross_fitted.log_loss < stored.temperature.before.log_loss
    calibrated = apply_temperature(scores, temperature)
    decision = stored.decision
    assert decision is not None
    assert stored.confidence is not None
    assert stored.appearance is not None
    expected = choose_threshold(truth == 0, calibrated[:, 0], SENSITIVITY, 0.9)
    assert decision.threshold == pytest.approx(expected)
    assert decision.apparent.sensitivity >= 0.9
    assert decision.apparent.specificity == pytest.approx((calibrated[truth == 1, 0] < expected).mean())
    assert (decision.images, decision.positives) == (40, 20)
    kept = calibrated.max(axis=1) >= stored.confidence.least
    assert 0.8 <= kept.mean() < 0.85
    # No patient is known: every image is one of its own, and 40 are too few for a promise.
    assert stored.appearance.patients == 40
    assert stored.appearance.assurance is None


def test_what_is_not_named_stays(run: Path) -> None:
    calibrate(run=run, runs=run.parent, targets=CalibrationTargets("COVID-19", SENSITIVITY, 0.9, 0.8))
    before = _stored(run)
    calibrate(run=run, runs=run.parent, targets=CalibrationTargets())
    assert _stored(run) == before
    calibrate(run=run, runs=run.parent, targets=CalibrationTargets(coverage=1.0))
    assert _stored(run).confidence is None
    assert _stored(run).decision == before.decision


def test_a_damaged_one_is_made_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibrate(run=run, runs=run.parent, targets=TARGETS)
    operating_path(run).write_text("{")
    with pytest.raises(ArtifactError, match="SHA-256"):
        predict(
            PredictOptions(inputs=[run.parent.parent / "xrays"], model=run, runs=run.parent, device="cpu")
        )
    calibrate(run=run, runs=run.parent, targets=CalibrationTargets())
    assert "replacing it" in capsys.readouterr().err
    assert _stored(run).decision is None  # what it asked for could not be read


def test_wishes_that_cannot_be(run: Path) -> None:
    assert targets_from_options(None, None, None, None) == CalibrationTargets()
    assert targets_from_options("a", None, 0.9, 0.8) == CalibrationTargets("a", "specificity", 0.9, 0.8)
    with pytest.raises(UsageError, match="give one"):
        targets_from_options("a", 0.9, 0.9, None)
    with pytest.raises(UsageError, match="--positive CLASS"):
        targets_from_options(None, 0.9, None, None)
    with pytest.raises(UsageError, match="also give a target"):
        targets_from_options("a", None, None, None)
    with pytest.raises(UsageError, match="choose COVID-19, Normal"):
        calibrate(run=run, runs=run.parent, targets=CalibrationTargets("Cat", SENSITIVITY, 0.9))


def _predicted(run: Path, out: Path, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    new = run.parent.parent / "new"
    new.mkdir(exist_ok=True)
    for number in range(2):
        cv2.imwrite(str(new / f"{number}.png"), picture(500 + number))
    fine = np.random.default_rng(1).integers(0, 256, (80, 80), dtype=np.uint8)
    cv2.imwrite(str(new / "noise.png"), fine)
    given: dict[str, Any] = {"model": run, "runs": run.parent, "device": "cpu", "workers": 1, "out": out}
    predict(PredictOptions(inputs=[new], **given, **options))
    table = read_table(out, PREDICTION)
    return table.to_pylist(), table_metadata(table)


def test_predict_does_what_is_stored(run: Path, tmp_path: Path) -> None:
    before, about = _predicted(run, tmp_path / "before.parquet")
    assert about["temperature"] is None
    assert {row["refer"] for row in before} == {None}
    calibrate(run=run, runs=run.parent, targets=TARGETS)
    stored = _stored(run)
    assert stored.decision is not None
    after, about = _predicted(run, tmp_path / "after.parquet")
    raw, about_raw = _predicted(run, tmp_path / "raw.parquet", raw_probabilities=True)
    assert about["temperature"] == stored.temperature.value
    assert about["decision"]["threshold"] == stored.decision.threshold
    assert about_raw["temperature"] is None
    for old, new, same in zip(before, after, raw, strict=True):
        assert same["p_Normal"] == pytest.approx(old["p_Normal"], abs=1e-6)
        # A temperature above 1 takes certainty.
        assert abs(new["p_Normal"] - 0.5) < abs(old["p_Normal"] - 0.5)
        found = new["p_COVID-19"] >= stored.decision.threshold
        assert new["decision"] == same["decision"] == ("COVID-19" if found else "not COVID-19")
    noise = next(row for row in after if row["path"].endswith("noise.png"))
    assert (noise["refer"], noise["refer_reason"]) == (True, "unlike_training_images")
    assert [row["refer"] for row in after].count(True) == 1


def test_rows_of_other_rules_are_not_mixed(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    _predicted(run, out)
    calibrate(run=run, runs=run.parent, targets=TARGETS)
    with pytest.raises(ArtifactError, match="calibrated or decided differently"):
        _predicted(run, out, resume=True)
    _predicted(run, out, overwrite=True)
    before = out.read_bytes()
    _predicted(run, out, resume=True)
    assert out.read_bytes() == before
    with pytest.raises(ArtifactError, match="calibrated or decided differently"):
        _predicted(run, out, resume=True, raw_probabilities=True)


def test_the_model_file_gets_it_too(run: Path, tmp_path: Path) -> None:
    opened = open_run(run)
    head = {
        "name": "tiny", "version": "0", "model_sha256": model_sha256(opened), "classes": list(opened.classes),
        "size": 64, "cache_size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {},
        "recipe_sha256": "", "trained_on": None,
    }  # fmt: skip
    write_model_file(model_file_path(run), head, {0: tiny_onnx(4.0), 1: tiny_onnx(-1.0)})
    networks = open_model_file(model_file_path(run)).networks
    calibrate(run=run, runs=run.parent, targets=TARGETS)
    model_file = open_model_file(model_file_path(run))
    assert model_file.operating == _stored(run)
    assert model_file.networks == networks
    alone = tmp_path / "elsewhere" / "m.magsd"
    alone.parent.mkdir()
    alone.write_bytes(model_file_path(run).read_bytes())
    with_run, _ = _predicted(run, tmp_path / "a.parquet")
    without, _ = _predicted(run, tmp_path / "b.parquet", overwrite=True)
    assert with_run == without
    table = tmp_path / "c.parquet"
    predict(PredictOptions(inputs=[tmp_path / "new"], model=alone, runs=tmp_path, out=table, workers=1))
    assert read_table(table, PREDICTION).to_pylist() == with_run


def test_without_the_cache_nothing_is_said_of_looks(run: Path, tmp_path: Path) -> None:
    cache = open_run(run).cache_path
    cache.unlink()
    samples_path(cache).unlink()
    calibrate(run=run, runs=run.parent, targets=TARGETS)
    assert _stored(run).appearance is None
    rows, _ = _predicted(run, tmp_path / "t.parquet")
    assert {row["refer"] for row in rows} == {None}
    assert {row["decision"] for row in rows} <= {"COVID-19", "not COVID-19", None}
