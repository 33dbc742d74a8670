"""Columns built buffer by buffer are what pyarrow itself would build."""

from __future__ import annotations

import pyarrow as pa
import pytest

from magsd_cli.artifacts.columns import column, table_from_rows


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "", "é\u202e", "b" * 300], pa.string()),
        ([["x", "yy"], [], None, ["é"]], pa.list_(pa.string())),
        ([[1, 2], [], None], pa.list_(pa.int32())),
        ([True, None, False] * 5, pa.bool_()),
        ([1.5, None, -0.25], pa.float32()),
        ([1, None, -7], pa.int64()),
        ([], pa.string()),
        ([], pa.list_(pa.string())),
        ([None], pa.bool_()),
    ],
)
def test_equal_to_pyarrows_own(values: list[object], kind: pa.DataType) -> None:
    found = column(values, kind)
    found.validate(full=True)
    assert found.equals(pa.array(values, kind))
    assert found.null_count == values.count(None)


def test_a_missing_key_is_null_and_other_kinds_are_refused() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.float32())])
    assert table_from_rows([{"a": "x"}, {"b": 1.0}], schema).to_pylist() == [
        {"a": "x", "b": None},
        {"a": None, "b": 1.0},
    ]
    with pytest.raises(TypeError, match="no column of"):
        column([b"x"], pa.binary())
