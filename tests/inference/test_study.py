from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from films import PATIENT, film, film_model

from magsd_cli.artifacts.files import check_hash
from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.errors import UsageError
from magsd_cli.inference.decision import DecisionRules
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.inference.studies.answer import study_answer
from magsd_cli.inference.studies.table import studies_path

PLAIN = DecisionRules(("a", "b"))
POSITIVE = DecisionRules(("a", "b"), positive="b", threshold=0.5)


def row(p: float, refer: bool | None = False, reason: str | None = None, **values: Any) -> dict[str, Any]:
    decision = "b" if p >= 0.5 else "not b"
    return {
        "status": "ok", "p_a": 1 - p, "p_b": p, "decision": decision, "refer": refer, "refer_reason": reason,
    } | values  # fmt: skip


def test_without_an_operating_point_the_mean_is_the_answer() -> None:
    found = study_answer([row(0.9), row(0.2), row(0.4)], PLAIN)
    assert found is not None
    assert (found.rule, found.images, found.predicted, found.decision) == ("mean", 3, "a", None)
    assert found.probabilities == pytest.approx({"a": 0.5, "b": 0.5})


def test_with_one_the_highest_probability_of_the_positive_class_is() -> None:
    found = study_answer([row(0.1), row(0.7), row(0.6)], POSITIVE)
    assert found is not None
    assert (found.rule, found.predicted, found.decision) == ("highest b", "b", "b")
    assert found.probabilities == pytest.approx({"a": 0.3, "b": 0.7})
    below = study_answer([row(0.1), row(0.4)], POSITIVE)
    assert below is not None
    assert (below.decision, below.confidence) == ("not b", pytest.approx(0.6))


@pytest.mark.parametrize(
    ("refers", "expected"),
    [
        ([False, True, None], True),
        ([False, None], None),
        ([False, False], False),
    ],
)
def test_a_study_is_referred_where_an_image_is(refers: list[bool | None], expected: bool | None) -> None:
    found = study_answer([row(0.1, refer) for refer in refers], PLAIN)
    assert found is not None
    assert found.refer is expected


def test_images_with_an_error_do_not_count() -> None:
    failed = dict.fromkeys(row(0), None) | {"status": "error"}
    found = study_answer([row(0.3, True, "x, y"), failed, row(0.3, True, "y")], PLAIN)
    assert found is not None
    assert (found.images, found.refer_reason) == (2, "x, y")
    assert study_answer([failed], PLAIN) is None


def run(folder: Path, name: str = "t.parquet", **options: Any) -> int:
    return predict(
        PredictOptions(
            [folder / "in"], film_model(folder), folder / "runs", folder / name, by_study=True, workers=1,
            **options,
        )
    )  # fmt: skip


def test_a_row_a_study_stands_beside_the_table(tmp_path: Path) -> None:
    for study, number in (("1.2.3", 1), ("1.2.3", 2), ("1.2.4", 3)):
        film(tmp_path / f"in/{number}.dcm", study, number)
    for number, patient in ((4, "P4"), (5, "P5")):
        film(tmp_path / f"in/{number}.dcm", "1.2.5", number, patient)
    film(tmp_path / "in/6.dcm", "1.2.6", 6, ViewPosition="LL")
    cv2.imwrite(str(tmp_path / "in/7.png"), np.random.default_rng(0).integers(0, 256, (80, 80), np.uint8))
    assert run(tmp_path) == 3  # the lateral view
    images = read_table(tmp_path / "t.parquet", PREDICTION).to_pylist()
    studies = pq.read_table(studies_path(tmp_path / "t.parquet")).to_pylist()
    check_hash(studies_path(tmp_path / "t.parquet"))
    assert [study["images"] for study in studies] == [2, 1, 2, 0]
    codes = [study["error_code"] for study in studies]
    assert codes == [None, None, "two_patients", "no_frontal_image"]
    mean = np.mean([one["p_b"] for one in images[:2]])
    assert studies[0]["p_b"] == pytest.approx(mean, abs=1e-6)
    assert len({one["study_id"] for one in images[:6]}) == 4
    assert images[6]["study_id"] == images[6]["patient_id"] == ""
    assert studies[2]["patient_id"] is None
    for path in tmp_path.glob("t*"):
        assert PATIENT.encode() not in path.read_bytes()


def test_patient_and_study_are_told_by_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "in/1.dcm", "1.2.3", 1)
    film(tmp_path / "in/2.dcm", "1.2.3", 2, ViewPosition="LL")
    cut = film(tmp_path / "in/3.dcm", "1.2.3", 3)
    cut.write_bytes(cut.read_bytes()[:-500])
    (tmp_path / "in/4.png").write_bytes(b"no picture")
    monkeypatch.setattr("magsd_cli.inference.studies.table.read_identity", None)  # no second look
    assert run(tmp_path) == 3
    images = read_table(tmp_path / "t.parquet", PREDICTION).to_pylist()
    assert [one["error_code"] for one in images] == [None, "lateral_view", "truncated", "not_image"]
    ids = [(one["study_id"], one["patient_id"]) for one in images]
    assert len(set(ids[:3])) == 1
    assert ids[0][0].startswith("h-")
    assert ids[0][1].startswith("h-")
    assert ids[3] == ("", "")
    monkeypatch.undo()
    (tmp_path / "t.parquet").unlink()
    predict(
        PredictOptions([tmp_path / "in"], tmp_path / "m.magsd", tmp_path / "runs", tmp_path / "t.parquet")
    )
    run(tmp_path, resume=True)  # rows of before, whose headers are read now
    again = read_table(tmp_path / "t.parquet", PREDICTION).to_pylist()
    assert [(one["study_id"], one["patient_id"]) for one in again] == ids


def test_a_study_grows_with_the_table_and_outlives_its_files(tmp_path: Path) -> None:
    first = film(tmp_path / "in/1.dcm", "1.2.3", 1)
    run(tmp_path)
    before = pq.read_table(studies_path(tmp_path / "t.parquet")).to_pylist()
    film(tmp_path / "in/2.dcm", "1.2.3", 2)
    first.unlink()
    run(tmp_path, watch_once=True)
    (after,) = pq.read_table(studies_path(tmp_path / "t.parquet")).to_pylist()
    assert (before[0]["study_id"], before[0]["images"]) == (after["study_id"], 1)
    assert after["images"] == 2


def test_a_table_made_without_gets_its_studies_later(tmp_path: Path) -> None:
    film(tmp_path / "in/1.dcm")
    plain = PredictOptions([tmp_path / "in"], film_model(tmp_path), tmp_path / "runs", tmp_path / "t.parquet")
    predict(plain)
    assert "study_id" not in read_table(tmp_path / "t.parquet", PREDICTION).column_names
    run(tmp_path, resume=True)
    assert read_table(tmp_path / "t.parquet", PREDICTION)["study_id"][0].as_py().startswith("h-")


def test_a_csv_has_its_studies_as_csv(tmp_path: Path) -> None:
    film(tmp_path / "in/1.dcm")
    run(tmp_path, "t.csv")
    assert pyarrow.csv.read_csv(tmp_path / "t.studies.csv")["images"].to_pylist() == [1]


def test_studies_need_a_named_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out FILE"):
        predict(PredictOptions([tmp_path], None, tmp_path, by_study=True))
