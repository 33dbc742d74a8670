"""Outside images for the report: predict's table and the labels beside it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from facts import some_facts
from operating_points import decision, operating_point

from magsd_cli.artifacts.sealed.parts import part_path
from magsd_cli.artifacts.sealed.row_groups import write_rows
from magsd_cli.artifacts.tables import IN_TRAINING_DATA, PREDICTION, read_table, write_table
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.external import REFIT_NOTE, read_external
from magsd_cli.render.document import Bullets, Table
from magsd_cli.report.sections.external import external_section

CLASSES = ("bright", "dark")
MODEL = "a" * 64


def _predictions(path: Path, model: str = MODEL) -> Path:
    """Six images: the fourth cannot be read, the fifth is training data, the last is referred."""
    bright = [0.9, 0.6, 0.2, None, 0.9, 0.7]
    rows = [
        {
            "path": f"/other/{'ab'[i % 2]}/image{i}.png",
            "sha256": f"{i:064d}",
            "status": "error" if p is None else "ok",
            "error_code": "corrupt" if p is None else None,
            "error": "broken" if p is None else None,
            "warnings": [IN_TRAINING_DATA] if i == 4 else [],
            "predicted": None if p is None else CLASSES[int(p < 0.5)],
            "p_bright": p,
            "p_dark": None if p is None else 1 - p,
            "confidence": None if p is None else max(p, 1 - p),
            "model_sha256": model,
            "decision": None,
            "refer": None if p is None else i == 5,
            "refer_reason": "low_confidence" if i == 5 else None,
        }
        for i, p in enumerate(bright)
    ]
    write_table(pd.DataFrame(rows), path, PREDICTION, {"classes": list(CLASSES), "model_sha256": model})
    return path


def _labels(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["path,label,patient_id", *rows]) + "\n")
    return path


def test_the_table_is_scored_with_its_labels(tmp_path):
    rows = ("image0.png,bright,p0", "b/image1.png,dark,p1", "/other/a/image2.png,dark,p2")
    rows += ("image3.png,dark,p3", "image4.png,bright,p4", "image5.png,bright,p5")
    labels = _labels(tmp_path / "labels.csv", *rows)
    outside = read_external(_predictions(tmp_path / "preds.parquet"), labels, CLASSES, MODEL)
    dark = operating_point(decision=decision(positive="dark", threshold=0.35))
    blocks = external_section(some_facts(external=outside, operating_point=dark))
    overall, _, frozen = (block for block in blocks if isinstance(block, Table))
    assert overall.rows[0][:3] == ("all images", "4", "75.00")
    assert frozen.rows[0][2].startswith("100.00")  # 0.4 and 0.8 reach 0.35, the bright ones do not
    assert frozen.rows[0][3].startswith("100.00")
    notes = " ".join(*(block.items for block in blocks if isinstance(block, Bullets)))
    assert "1 labelled images could not be read" in notes
    assert "1 labelled images are training data" in notes
    assert "1 of the scored images were referred" in notes


def test_a_folder_of_parts_is_scored_as_one_table(tmp_path):
    labels = _labels(tmp_path / "labels.csv", "image0.png,bright,p0", "image5.png,bright,p5")
    whole = _predictions(tmp_path / "preds.parquet")
    rows = read_table(whole, PREDICTION).to_pylist()
    head = {"classes": list(CLASSES), "model_sha256": MODEL}
    for part, some, more in ((0, rows[:4], {}), (1, rows[4:], {"parts": 2})):
        path = part_path(tmp_path / "parts", part)
        write_rows(some, path, PREDICTION, head | {"part": part} | more)
    one, many = (
        read_external(path, labels, CLASSES, MODEL).predictions for path in (whole, tmp_path / "parts")
    )
    assert one.image_ids == many.image_ids == ("/other/a/image0.png", "/other/b/image5.png")
    assert (one.probabilities == many.probabilities).all()
    part_path(tmp_path / "parts", 1).unlink()
    with pytest.raises(ArtifactError, match="not finished"):
        read_external(tmp_path / "parts", labels, CLASSES, MODEL)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("image0.png,fracture,", "row 2: its label is none of bright, dark"),
        ("image9.png,bright,", "row 2: 'image9.png' is not an image"),
        ("age0.png,bright,", "is not an image of the table"),
        ("image3.png,bright,", "nothing to score"),
        ("image0.png,bright", "row 2: 2 fields"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, row, reason):
    labels = _labels(tmp_path / "labels.csv", row)
    with pytest.raises(ArtifactError, match=reason) as error:
        read_external(_predictions(tmp_path / "p.parquet"), labels, CLASSES, MODEL)
    assert "\n" not in str(error.value)


def test_a_damaged_table_and_one_of_other_networks_are_refused(tmp_path):
    labels = _labels(tmp_path / "labels.csv", "image0.png,bright,")
    path = _predictions(tmp_path / "p.parquet")
    with pytest.raises(ArtifactError, match="networks other than"):
        read_external(path, labels, CLASSES, "b" * 64)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArtifactError):
        read_external(path, labels, CLASSES, MODEL)
    with pytest.raises(ArtifactError, match="cannot be read as CSV"):
        read_external(path, None, CLASSES, MODEL)


def test_a_table_that_it_predicted_is_scored_under_its_name(tmp_path):
    labels = _labels(tmp_path / "labels.csv", "image0.png,bright,p0")
    table = read_table(_predictions(tmp_path / "p.parquet", "r" * 64), PREDICTION)
    about = {"classes": list(CLASSES), "model_sha256": "r" * 64, "fold_networks_sha256": MODEL}
    write_table(table.replace_schema_metadata(), tmp_path / "p.parquet", PREDICTION, about)
    outside = read_external(tmp_path / "p.parquet", labels, CLASSES, MODEL)
    assert outside.notes[0] == REFIT_NOTE
    with pytest.raises(ArtifactError, match="networks other than"):
        read_external(tmp_path / "p.parquet", labels, CLASSES, "b" * 64)
