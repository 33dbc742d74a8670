"""The refit network of a run: who answers, in both engines and in a file, with the folds' operating point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from operating_points import operating_point
from tiny_onnx import tiny_onnx
from tiny_run import picture, write_tiny_run

from magsd_cli.artifacts.checkpoints import write_weights
from magsd_cli.artifacts.model_file import (
    FOLDS_SCHEMA,
    REFIT_SCHEMA,
    SCHEMA_VERSION,
    model_file_path,
    open_model_file,
    read_network,
)
from magsd_cli.artifacts.operating_point import operating_path, write_operating_point
from magsd_cli.artifacts.runs import (
    REFIT,
    Run,
    create_run,
    model_sha256,
    open_run,
    refit_path,
    weights_path,
    write_json_hashed,
)
from magsd_cli.artifacts.tables import LOCALIZATION, PREDICTION, read_table, table_metadata
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.export import export as room
from magsd_cli.export.export import deploy, export
from magsd_cli.inference.model import open_model
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.inference.torch_engine import load_ensemble, predict_images
from magsd_cli.localization.localize import LocalizeOptions, localize
from magsd_cli.models.build import build_model
from magsd_cli.settings import Network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of two folds with a refit network of its own, an operating point, and exports in no time."""
    opened = open_run(write_tiny_run(tmp_path))
    opened = create_run(replace(opened, refit=True), opened.folds())
    network = build_model(opened.recipe.model, len(opened.classes), 77)
    write_weights(weights_path(opened.path, REFIT), network.state_dict(), opened.classes)
    write_json_hashed(refit_path(opened.path), {"trained_on_images": 8})
    point = operating_point(decision=None, confidence=None, appearance=None)
    write_operating_point(opened.path, point.model_copy(update={"model_sha256": model_sha256(opened)}))
    monkeypatch.setattr(room, "export_network", lambda _network, _images: tiny_onnx())
    return opened


def rows(run: Run, out: Path, **options: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What predict says of a new picture and of one of the run's own, and the table's metadata."""
    new = out.parent / "new.png"
    cv2.imwrite(str(new), picture(500))
    inputs = [new, run.path.parents[1] / "xrays" / "Normal" / "1.png"]
    given: dict[str, Any] = {"model": None, "runs": run.path.parent, "device": "cpu", "workers": 1}
    predict(PredictOptions(inputs=inputs, out=out, **given | options))
    table = read_table(out, PREDICTION)
    return table.to_pylist(), table_metadata(table)


def test_predict_uses_the_folds_unless_it_is_asked(run: Run, tmp_path: Path) -> None:
    of_folds, about = rows(run, tmp_path / "folds.parquet")
    assert about["model_sha256"] == model_sha256(run)
    assert "network" not in about
    assert about["refers"]["folds_disagree"]
    of_refit, about = rows(run, tmp_path / "refit.parquet", network=Network.refit)
    assert about["model_sha256"] == model_sha256(run, Network.refit)
    assert (about["network"], about["fold_networks_sha256"]) == ("refit", model_sha256(run))
    assert about["refers"]["folds_disagree"] is None
    assert about["temperature"] == operating_point().temperature.value
    assert of_refit[0]["p_Normal"] != of_folds[0]["p_Normal"]
    for row in (*of_folds, *of_refit):
        assert row["warnings"] == ([] if row["path"].endswith("new.png") else ["in_training_data"])
        assert "folds_disagree" not in (row["refer_reason"] or "")


def test_raw_answers_are_the_refit_networks(run: Run, tmp_path: Path) -> None:
    found, _ = rows(run, tmp_path / "t.parquet", network=Network.refit, raw_probabilities=True)
    image = cv2.imread(str(tmp_path / "new.png"), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    from magsd_cli.data.ingest import IngestTask, ingest

    prepared = ingest(IngestTask(tmp_path / "new.png", run.preprocessing)).image
    assert prepared is not None
    expected = predict_images(load_ensemble(run, (REFIT,)), prepared[None, None]).probabilities[0]
    np.testing.assert_allclose([found[0]["p_COVID-19"], found[0]["p_Normal"]], expected, atol=1e-6)


def test_a_table_never_mixes_it_with_the_folds(run: Run, tmp_path: Path) -> None:
    rows(run, tmp_path / "t.parquet")
    with pytest.raises(ArtifactError, match="its rows are from model"):
        rows(run, tmp_path / "t.parquet", network=Network.refit, resume=True)


def test_a_run_without_one_says_how_to_make_it(run: Run, tmp_path: Path) -> None:
    refit_path(run.path).unlink()
    with pytest.raises(
        ArtifactError, match=rf"no refit network; train one with `magsd cv --resume {run.path}"
    ):
        rows(run, tmp_path / "t.parquet", network=Network.refit)
    with pytest.raises(ArtifactError, match="no refit network"):
        export(run=run.path, runs=run.path.parent, network=Network.refit)


def test_its_file_is_used_alone_and_named(run: Run, tmp_path: Path) -> None:
    path = export(run=run.path, runs=run.path.parent, network=Network.refit)
    assert path == run.path / "refit" / "model.magsd" == model_file_path(run.path, Network.refit)
    found = open_model_file(path)
    assert found.network == Network.refit
    assert set(found.networks) == {REFIT}
    assert found.fold_networks_sha256 == model_sha256(run)
    assert found.operating is not None
    assert found.trained_on is not None
    assert len(found.trained_on) == 8
    assert read_network(found, REFIT) == tiny_onnx()
    for model, network in ((path, None), (path, Network.refit), (run.path, Network.refit)):
        of_file, about = rows(run, tmp_path / "t.parquet", model=model, network=network, overwrite=True)
        assert about["model_sha256"] == model_sha256(run, Network.refit)
        assert of_file[1]["warnings"] == ["in_training_data"]
    with pytest.raises(UsageError, match=r"--network folds: .* holds its refit network"):
        open_model(path, run.path.parent, Network.folds)
    of_folds = export(run=run.path, runs=run.path.parent, out=tmp_path / "folds.magsd")
    with pytest.raises(UsageError, match=r"--network refit: .* holds the mean of 2 fold networks"):
        open_model(of_folds, run.path.parent, Network.refit)


def test_earlier_versions_read_a_file_of_folds_and_refuse_one_of_the_refit(run: Run, tmp_path: Path) -> None:
    import json
    import zipfile

    versions = {}
    for network in Network:
        path = export(run=run.path, runs=run.path.parent, out=tmp_path / f"{network}.magsd", network=network)
        with zipfile.ZipFile(path) as archive:
            versions[network] = json.loads(archive.read("model.json"))["schema_version"]
    assert versions == {Network.folds: FOLDS_SCHEMA, Network.refit: REFIT_SCHEMA}
    assert FOLDS_SCHEMA < REFIT_SCHEMA < SCHEMA_VERSION


def test_a_file_of_another_refit_or_other_folds_is_refused(run: Run) -> None:
    export(run=run.path, runs=run.path.parent, network=Network.refit)
    for fold in (REFIT, 0):
        network = build_model(run.recipe.model, len(run.classes), 5 + fold)
        write_weights(weights_path(run.path, fold), network.state_dict(), run.classes)
        with pytest.raises(ArtifactError, match=r"of other networks .* `magsd export .* --network refit`"):
            open_model(run.path, run.path.parent, Network.refit)
        operating_path(run.path).unlink(missing_ok=True)
        export(run=run.path, runs=run.path.parent, network=Network.refit)
        open_model(run.path, run.path.parent, Network.refit)


def test_deploy_gives_both_files_and_later_both_operating_points(run: Run) -> None:
    digest = {"model_sha256": model_sha256(run)}
    for value in (1.5, 2.5):
        point = operating_point(decision=None, confidence=None, appearance=None)
        temperature = point.temperature.model_copy(update={"value": value})
        deploy(run, point.model_copy(update={**digest, "temperature": temperature}))
        write_operating_point(run.path, point.model_copy(update={**digest, "temperature": temperature}))
        for network in Network:
            found = open_model_file(model_file_path(run.path, network))
            assert found.operating is not None
            assert found.network == network
    assert found.operating is not None
    assert found.operating.temperature.value == 2.5


def test_int8_is_judged_on_the_fold_networks(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Any] = []
    figures = {"accuracy": 1.0, "auc": 1.0}

    def quantize_run(_path: Path, networks: dict[int, bytes], margin: float) -> tuple[Any, Any]:
        judged.append((sorted(networks), margin))
        return {}, {"margin": margin, "images": 8, "fp32": figures, "int8": figures}

    shown: list[int] = []

    def quantize(data: bytes, images: np.ndarray) -> bytes:
        shown.append(len(images))
        return data

    monkeypatch.setattr(room, "quantize_run", quantize_run)
    monkeypatch.setattr(room, "quantize", quantize)
    out = tmp_path / "small.magsd"
    export(run=run.path, runs=run.path.parent, out=out, int8=0.02, network=Network.refit)
    assert judged == [([0, 1], 0.02)]
    assert shown == [8]
    found = open_model_file(out)
    assert (set(found.networks), found.precision) == ({REFIT}, "int8")


def test_localize_counts_no_image_of_the_run_as_unseen(run: Run, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "new.png"), picture(501))
    inputs = [tmp_path / "new.png", tmp_path / "xrays" / "Normal" / "1.png"]
    options = LocalizeOptions(
        inputs, None, run.path.parent, name="refit", device="cpu", network=Network.refit
    )
    folder, code = localize(options)
    assert code == 0
    table = read_table(folder / "localization.parquet", LOCALIZATION)
    found = table.select(["folds", "unseen", "warnings"]).to_pylist()
    assert found == [
        {"folds": [REFIT], "unseen": True, "warnings": []},
        {"folds": [REFIT], "unseen": False, "warnings": ["in_training_data"]},
    ]
