"""The operating point beside a run: whole, of its networks, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from operating_points import VALUES, decision, operating_point

from magsd_cli.artifacts.files import read_json, record_hash
from magsd_cli.artifacts.operating_point import (
    SCHEMA_VERSION,
    check_operating_point,
    operating_path,
    read_operating_point,
    write_operating_point,
)
from magsd_cli.artifacts.runs import write_json_hashed
from magsd_cli.errors import ArtifactError

#: Of the same values as commit 5baafe2 hashed them, which stands in prediction tables.
SHA256 = "abdae2822382f96c9e5e02be0070471509107e165a17e8a0b41be5ffcc16e563"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_operating_point(tmp_path, "a" * 64) is None
    write_operating_point(tmp_path, operating_point())
    assert read_json(operating_path(tmp_path)) == VALUES
    assert read_operating_point(tmp_path, "a" * 64) == operating_point()
    bare = operating_point(appearance=None, confidence=None, decision=None)
    write_operating_point(tmp_path, bare)
    assert read_operating_point(tmp_path, "a" * 64) == bare


def test_damage_other_networks_and_later_schemas_are_refused(tmp_path: Path) -> None:
    write_operating_point(tmp_path, operating_point())
    with pytest.raises(ArtifactError, match="other networks"):
        read_operating_point(tmp_path, "b" * 64)
    operating_path(tmp_path).write_text("{}")
    with pytest.raises(ArtifactError, match="SHA-256"):
        read_operating_point(tmp_path, "a" * 64)
    record_hash(operating_path(tmp_path))
    with pytest.raises(ArtifactError, match=r"is not an operating point \(appearance: Field required\); run"):
        read_operating_point(tmp_path, "a" * 64)
    write_json_hashed(operating_path(tmp_path), VALUES | {"schema_version": SCHEMA_VERSION + 1, "new": 1})
    with pytest.raises(ArtifactError, match="newer magsd"):
        read_operating_point(tmp_path, "a" * 64)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (VALUES | {"temperature": None}, "temperature: "),
        (VALUES | {"appearance": {"limit": 1.0}}, r"appearance\.assurance: Field required"),
        (VALUES | {"decision": decision(rate="luck")}, r"decision\.rate: "),
        (VALUES | {"decision": decision(threshold="high")}, r"decision\.threshold: "),
        (VALUES | {"colour": "red"}, "colour: Extra inputs"),
        ([VALUES], "Input should be"),
        (None, "Input should be"),
    ],
)
def test_what_is_none_is_refused_in_a_line(values: Any, reason: str) -> None:
    with pytest.raises(ArtifactError, match=rf"x\.json: is not an operating point \({reason}") as error:
        check_operating_point(values, Path("x.json"), "a" * 64)
    assert "\n" not in str(error.value)


def test_its_hash_is_of_what_it_says_and_as_it_always_was() -> None:
    assert operating_point().sha256() == SHA256
    assert operating_point(decision=decision(threshold=0.5)).sha256() != SHA256
