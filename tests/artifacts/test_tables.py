"""Result tables: what goes in comes out, and nothing wrong or damaged is ever read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from magsd_cli import __version__
from magsd_cli.artifacts.tables import (
    LOCALIZATION,
    OUT_OF_FOLD,
    PREDICTION,
    class_probabilities,
    path_text,
    read_table,
    table_bytes,
    table_metadata,
    table_schema,
    write_table,
)
from magsd_cli.errors import ArtifactError

HEAD = {"classes": ["a", "b|`<script>"], "model_sha256": "f" * 64, "recipe": {"seed": 0}}


def _ok(path: str, p: float = 0.25, **changes: Any) -> dict[str, Any]:
    row = {
        "path": path, "sha256": "0" * 64, "status": "ok", "error_code": None, "error": None,
        "warnings": [], "predicted": "a" if p > 0.5 else "b|`<script>", "p_a": p, "p_b|`<script>": 1 - p,
        "confidence": max(p, 1 - p), "model_sha256": "f" * 64,
    }  # fmt: skip
    return row | changes


def _error(path: str, **changes: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("sha256", "predicted", "p_a", "p_b|`<script>", "confidence"))
    return _ok(path) | empty | {"status": "error", "error_code": "corrupt", "error": "cut"} | changes


def _table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=table_schema(PREDICTION, HEAD["classes"]))


def _folds(**changes: Any) -> pd.DataFrame:
    columns = {
        "image_id": ["i", "j"], "path": ["/x/i", "/x/j"], "patient_id": ["p", ""], "label": ["a", "a"],
        "fold": [0, 1], "predicted": ["a", "b|`<script>"], "p_a": [0.75, 0.5], "p_b|`<script>": [0.25, 0.5],
    }  # fmt: skip
    return pd.DataFrame(columns | changes)


def test_a_prediction_table_comes_back_as_it_went_in(tmp_path: Path) -> None:
    table = _table(_ok("x y\n\u202e.png", 0.75, warnings=["lateral"]), _error("z"))
    write_table(table, tmp_path / "t.parquet", PREDICTION, HEAD)
    found = read_table(tmp_path / "t.parquet", PREDICTION)
    assert found.to_pylist() == table.to_pylist()
    head = table_metadata(found)
    assert head["classes"] == HEAD["classes"]
    assert head["recipe"] == {"seed": 0}
    assert head["version"] == __version__
    assert found.schema.field("p_a").type == pa.float32()
    values = class_probabilities(found, HEAD["classes"])
    np.testing.assert_array_equal(values, np.array([[0.75, 0.25], [np.nan, np.nan]], np.float32))


def test_other_programs_read_it_as_plain_parquet(tmp_path: Path) -> None:
    write_table(_table(_ok("x"), _error("z")), tmp_path / "t.parquet", PREDICTION, HEAD)
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert list(frame["path"]) == ["x", "z"]
    assert list(frame.columns)[:7] == [
        "path", "sha256", "status", "error_code", "error", "warnings", "predicted",
    ]  # fmt: skip


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    write_table(_table(), tmp_path / "t.parquet", PREDICTION, HEAD)
    assert len(read_table(tmp_path / "t.parquet", PREDICTION)) == 0


def test_further_columns_are_kept_behind_the_known_ones(tmp_path: Path) -> None:
    table = _table(_ok("x")).add_column(0, "uncertainty", pa.array([0.5]))
    write_table(table, tmp_path / "t.parquet", PREDICTION, HEAD)
    assert read_table(tmp_path / "t.parquet", PREDICTION).column_names[-1] == "uncertainty"


def test_an_out_of_fold_frame_goes_in_and_comes_out(tmp_path: Path) -> None:
    write_table(_folds(), tmp_path / "t.parquet", OUT_OF_FOLD, HEAD)
    pd.testing.assert_frame_equal(
        read_table(tmp_path / "t.parquet", OUT_OF_FOLD).to_pandas(), _folds(), check_dtype=False
    )


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Page checksums alone leave Parquet's headers and footer open; the seal covers the whole file."""
    data = table_bytes(_table(*(_ok(f"{i}", 0.25) for i in range(20)), _error("z")), PREDICTION, HEAD)
    rng = np.random.default_rng(0)
    path = tmp_path / "t.parquet"
    for position in rng.choice(len(data) * 8, size=400, replace=False):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            read_table(path, PREDICTION)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_table_is_refused(tmp_path: Path, share: float) -> None:
    data = table_bytes(_table(_ok("x")), PREDICTION, HEAD)
    (tmp_path / "t.parquet").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtifactError, match="footer"):
        read_table(tmp_path / "t.parquet", PREDICTION)


def test_an_absent_table_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"t\.parquet: No such file"):
        read_table(tmp_path / "t.parquet", PREDICTION)


def test_a_table_from_elsewhere_is_refused(tmp_path: Path) -> None:
    pq.write_table(_table(_ok("x")), tmp_path / "t.parquet")
    with pytest.raises(ArtifactError, match="not a table that magsd wrote"):
        read_table(tmp_path / "t.parquet", PREDICTION)


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_table(_folds(), tmp_path / "t.parquet", OUT_OF_FOLD, HEAD)
    with pytest.raises(ArtifactError, match=r"out_of_fold table.*not a prediction table"):
        read_table(tmp_path / "t.parquet", PREDICTION)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([_ok("x"), _ok("x")], "same path"),
        ([_ok("x", model_sha256="e" * 64), _ok("y")], "different models"),
        ([_ok("x", **{"p_a": 0.5})], "sum to 1"),
        ([_ok("x", **{"p_a": -0.25, "p_b|`<script>": 1.25})], "outside"),
        ([_ok("x", **{"p_a": None})], "outside"),
        ([_ok("x", predicted="c")], "not one of its classes"),
        ([_ok("x", predicted="a")], "largest"),
        ([_ok("x", sha256=None)], "no sha256"),
        ([_ok("x", status="fine")], "neither ok nor error"),
        ([_error("x", error_code=None)], "no error_code"),
        ([_error("x", predicted="a")], "has a prediction"),
        ([_ok("x") | {"path": None}], "path is empty"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason):
        table_bytes(_table(*rows), PREDICTION, HEAD)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_id": ["i", "i"]}, "same image_id"),
        ({"label": ["a", "c"]}, "unknown label"),
        ({"label": ["a", None]}, "unknown label"),
        ({"fold": [0, -1]}, "negative fold"),
        ({"fold": ["x", "y"]}, "wrong type"),
        ({"p_a": [0.5, 0.5]}, "sum to 1"),
        ({"p_a": [np.nan, 0.5]}, "outside"),
    ],
)
def test_out_of_fold_rows_that_cannot_be_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason):
        table_bytes(_folds(**changes), OUT_OF_FOLD, HEAD)


def test_a_missing_column_and_equal_classes_are_refused() -> None:
    with pytest.raises(ArtifactError, match="column fold is missing"):
        table_bytes(_folds().drop(columns="fold"), OUT_OF_FOLD, HEAD)
    with pytest.raises(ArtifactError, match="distinct"):
        table_bytes(_folds(), OUT_OF_FOLD, HEAD | {"classes": ["a", "a"]})


def test_a_name_that_imitates_the_seal_is_refused() -> None:
    imitation = "magsd-seal-sha256-" + "0" * 64
    with pytest.raises(ArtifactError, match="imitates"):
        table_bytes(_table(_ok("x")), PREDICTION, HEAD | {"model": imitation})


def test_the_localization_table_has_the_prediction_columns_first() -> None:
    names = table_schema(LOCALIZATION, ["a"]).names
    assert names[:10] == table_schema(PREDICTION, ["a"]).names[:10]
    assert {"x", "y", "width", "height", "iou_box", "iou_mask", "pointing_hit", "folds"} <= set(names)


def test_path_text_survives_names_that_are_not_utf8() -> None:
    assert path_text(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"
    assert path_text(Path("x/é.png")) == "x/é.png"


def test_a_table_of_before_there_were_decisions_is_read(tmp_path: Path) -> None:
    old = _table(_ok("x.png")).drop_columns(["decision", "refer", "refer_reason"])
    write_table(old, tmp_path / "t.parquet", PREDICTION, HEAD)
    row = read_table(tmp_path / "t.parquet", PREDICTION).to_pylist()[0]
    assert (row["path"], row["decision"], row["refer"]) == ("x.png", None, None)
