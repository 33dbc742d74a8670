"""How a run's networks are used: ``operating.json`` with the temperature, the threshold, and what to refer.

It belongs to the networks whose hash it names, and travels inside their model file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.files import check_hash, read_json, sha256_bytes
from magsd_cli.artifacts.runs import write_json_hashed
from magsd_cli.errors import ArtifactError

SCHEMA_VERSION = 1


PARTS = ("temperature", "decision", "confidence", "appearance")


AGAIN = "run `magsd calibrate` again"


def operating_path(run: Path) -> Path:
    """Where a run keeps it."""
    return run / "operating.json"


def write_operating(run: Path, values: Mapping[str, Any]) -> None:
    """Write `values`: `schema_version`, `model_sha256`, and the four `PARTS`, None where there is none.

    Raises `OutputError`.
    """
    write_json_hashed(operating_path(run), values)


def read_operating(run: Path, model_sha256: str) -> dict[str, Any] | None:
    """What the run's file says, or None without one.

    Raises `ArtifactError` when it is damaged, of a later schema, or of other networks than `model_sha256`.
    """
    path = operating_path(run)
    if not path.exists():
        return None
    check_hash(path)
    return check_operating(read_json(path), path, model_sha256)


def check_operating(values: Any, where: Path, model_sha256: str) -> dict[str, Any]:
    """`values` if they are what `write_operating` writes, of these networks. Raises `ArtifactError`."""
    try:
        if values["schema_version"] > SCHEMA_VERSION:
            raise ArtifactError(f"{where}: was made by a later magsd; install a newer one")
        of, parts = values["model_sha256"], {part: values[part] for part in PARTS}
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{where}: is no operating point ({error}); run `magsd calibrate` again"
        ) from error
    if of != model_sha256:
        raise ArtifactError(f"{where}: is of other networks than these; run `magsd calibrate` again")
    return {**parts, "model_sha256": of, "schema_version": SCHEMA_VERSION}


def operating_sha256(values: Mapping[str, Any] | None) -> str:
    """A hash of what predict does with its answers; "" without an operating point."""
    return "" if values is None else sha256_bytes(json.dumps(values, sort_keys=True).encode())
