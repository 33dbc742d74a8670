"""The operating point beside a run: whole, of its networks, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from magsd_cli.artifacts.files import record_hash
from magsd_cli.artifacts.operating_point import (
    PARTS,
    SCHEMA_VERSION,
    operating_path,
    operating_sha256,
    read_operating,
    write_operating,
)
from magsd_cli.errors import ArtifactError

VALUES = {"schema_version": SCHEMA_VERSION, "model_sha256": "a" * 64, **dict.fromkeys(PARTS)}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_operating(tmp_path, "a" * 64) is None
    write_operating(tmp_path, VALUES | {"temperature": {"value": 1.5}})
    found = read_operating(tmp_path, "a" * 64)
    assert found is not None
    assert found["temperature"] == {"value": 1.5}
    assert found["decision"] is None


def test_damage_other_networks_and_later_schemas_are_refused(tmp_path: Path) -> None:
    write_operating(tmp_path, VALUES)
    with pytest.raises(ArtifactError, match="other networks"):
        read_operating(tmp_path, "b" * 64)
    operating_path(tmp_path).write_text("{}")
    with pytest.raises(ArtifactError, match="SHA-256"):
        read_operating(tmp_path, "a" * 64)
    record_hash(operating_path(tmp_path))
    with pytest.raises(ArtifactError, match="magsd calibrate"):
        read_operating(tmp_path, "a" * 64)
    write_operating(tmp_path, VALUES | {"schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(ArtifactError, match="later magsd"):
        read_operating(tmp_path, "a" * 64)


def test_its_hash_is_of_what_it_says() -> None:
    assert operating_sha256(None) == ""
    assert operating_sha256(VALUES) == operating_sha256(dict(reversed(VALUES.items())))
    assert operating_sha256(VALUES) != operating_sha256(VALUES | {"decision": {"threshold": 0.5}})
