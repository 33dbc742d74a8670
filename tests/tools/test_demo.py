"""The demo with tiny sizes (the full one is marked slow), and the phantom set that it writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from magsd_cli.artifacts.files import read_json
from magsd_cli.artifacts.tables import LOCALIZATION, read_table
from magsd_cli.errors import ArtifactError
from magsd_cli.export.export import deploy
from magsd_cli.tools.demo import Extent, demo, write_phantom_set
from magsd_cli.training import run as run_module

TINY = Extent(
    per_class=6,
    pixels=72,
    cached=64,
    folds=2,
    new=2,
    train_epochs=1,
    processes=1,
    settings=("image.size=64", "train.epochs=1", "train.warmup_epochs=0", "model.attention_maps=4"),
)


def test_the_phantom_set(tmp_path: Path) -> None:
    manifest = write_phantom_set(tmp_path / "set", 12, np.random.default_rng(0), 64)
    table = pd.read_csv(manifest)
    assert table["label"].value_counts().to_dict() == {"Normal": 12, "Pneumonia": 12, "COVID-19": 12}
    assert table["path"].is_unique
    images_a_patient = table.groupby("patient_id")["path"].count()
    assert images_a_patient.max() in (2, 3)
    assert (table.groupby("patient_id")["label"].nunique() == 1).all()
    boxes = pd.read_csv(tmp_path / "set" / "boxes.csv").set_index("path")
    assert set(boxes["label"]) == {"Pneumonia"}
    for path, label in zip(table["path"], table["label"], strict=True):
        assert cv2.imread(str(tmp_path / "set" / path), 0).shape == (64, 64)
        mask = tmp_path / "set" / path.replace("images/", "masks/")
        assert mask.exists() == (label != "Normal")
        if label == "Pneumonia":
            rows, columns = np.nonzero(cv2.imread(str(mask), 0))
            x, y, width, height = boxes.loc[path, ["x", "y", "width", "height"]]
            assert (columns.min(), rows.min()) == (x, y)
            assert (columns.max() + 1 - x, rows.max() + 1 - y) == (width, height)


def test_the_sources_have_nothing_to_do_with_the_class(tmp_path: Path) -> None:
    table = pd.read_csv(write_phantom_set(tmp_path / "set", 40, np.random.default_rng(0), 32))
    shares = pd.crosstab(table["label"], table["source"], normalize="index")
    assert shares.to_numpy().min() > 0.2


def test_the_same_seed_draws_the_same_set(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_phantom_set(tmp_path / name, 2, np.random.default_rng(5), 48)
    files = [sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("a", "b")]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_a_tiny_demo_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "deploy", deploy)  # not the stand-in of conftest: predict is to use it
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        path = demo(runs=tmp_path / "runs", device="cpu", extent=TINY)
        said = capsys.readouterr().err
        commands = [line.split()[2] for line in said.splitlines() if line.startswith("$ magsd ")]
        assert commands == ["prepare", "train", "cv", "predict", "localize", "report"]
        text = path.read_text()
        assert "Boxes (" in text
        assert "Where the network looked" in text
        assert path.with_name("report.html").exists()
        run = path.parent
        before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
        assert demo(runs=tmp_path / "runs", device="cpu", extent=TINY) == path
        assert capsys.readouterr().err.count("nothing is left to do") >= 4
        assert {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")} == before
        other = Extent(per_class=7, pixels=72, cached=64)
        with pytest.raises(ArtifactError, match="other phantoms"):
            demo(runs=tmp_path / "runs", device="cpu", extent=other)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_network_learns_and_looks_at_the_lesions(tmp_path: Path, seed: int) -> None:
    path = demo(runs=tmp_path / "runs", device="cpu", seed=seed)
    metrics = read_json(path.parent / "metrics.json")
    assert metrics["pooled"]["auc"] > 0.9
    table = read_table(tmp_path / "runs" / "localize" / f"demo-{seed}" / "localization.parquet", LOCALIZATION)
    frame = table.to_pandas()
    known = frame[frame["iou_mask"].notna() & (frame["unseen"] == True)]  # noqa: E712
    assert known["pointing_hit"].astype(float).mean() > known["control_pointing"].mean() + 0.1
    assert known["iou_mask"].mean() > known["control_iou_mask"].mean()
