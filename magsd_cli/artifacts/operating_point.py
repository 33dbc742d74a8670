"""The operating point of a run, ``operating.json``: the temperature, the threshold, and what to refer.

It belongs to the networks whose hash it names, and travels inside their model file. The fields of each part
stand in the order in which JSON keeps them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from magsd_cli.artifacts.files import check_hash, read_json
from magsd_cli.artifacts.runs import write_json_hashed
from magsd_cli.errors import ArtifactError
from magsd_cli.hashing import sha256_bytes

SCHEMA_VERSION = 1
AGAIN = "run `magsd calibrate` again"
Bounds = tuple[float | None, float | None]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationFigures(_Part):
    """Brier score, expected calibration error (0..1) and log loss (nats) of one set of probabilities."""

    brier: float
    ece: float
    log_loss: float


class Temperature(_Part):
    """The divisor of the logits, fitted on `images`; the figures before it, and cross-fitted."""

    before: CalibrationFigures
    cross_fitted: CalibrationFigures | None
    images: int
    value: float


class DecisionFigures(_Part):
    """Sensitivity and specificity in 0..1 with their 95% intervals; None where undefined."""

    sensitivity: float | None
    sensitivity_interval: Bounds
    specificity: float | None
    specificity_interval: Bounds


class Decision(_Part):
    """The threshold on the probability of class `positive`, for a `rate` of at least `value`.

    `apparent`: what it achieves on the `images` (`positives` of them of the class) where it was chosen.
    """

    apparent: DecisionFigures
    cross_fitted: DecisionFigures | None
    images: int
    positive: str
    positives: int
    rate: Literal["sensitivity", "specificity"]
    threshold: float
    value: float


class Confidence(_Part):
    """The least confidence that answers the share `coverage` of the images."""

    coverage: float
    least: float


class Plane(_Part):
    """The plane of the training images' variation, as `inference.out_of_distribution` makes it."""

    components: list[list[float]]
    mean: list[float]
    residual: float
    scale: list[float]
    variances: list[float]


class Appearance(_Part):
    """The distance from the training images over which an image is referred, and how many of them are.

    `assurance` that at most `share` of new patients' images are, None where `patients` are too few for it.
    `by_class`: how many of the run's own are referred, and how many there are.
    """

    assurance: float | None
    by_class: dict[str, tuple[int, int]]
    images: int
    limit: float
    patients: int
    plane: Plane
    referred: float
    share: float


class OperatingPoint(_Part):
    """The rules by which the networks of `model_sha256` are used. A part that was not asked for, or cannot
    be, is None.
    """

    appearance: Appearance | None
    confidence: Confidence | None
    decision: Decision | None
    model_sha256: str
    schema_version: int = SCHEMA_VERSION
    temperature: Temperature

    def values(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return self.model_dump(mode="json")

    def sha256(self) -> str:
        """The hash of what predict does with its answers."""
        return sha256_bytes(json.dumps(self.values(), sort_keys=True).encode())


def operating_path(run: Path) -> Path:
    """Return the path of a run's operating point."""
    return run / "operating.json"


def write_operating_point(run: Path, point: OperatingPoint) -> None:
    """Write the operating point of a run. Raises `OutputError`."""
    write_json_hashed(operating_path(run), point.values())


def read_operating_point(run: Path, model_sha256: str) -> OperatingPoint | None:
    """Read the operating point of a run; None without one.

    Raises `ArtifactError` when it is damaged, of a later schema, or of other networks than `model_sha256`.
    """
    path = operating_path(run)
    if not path.exists():
        return None
    check_hash(path)
    return check_operating_point(read_json(path), path, model_sha256)


def check_operating_point(values: object, where: Path, model_sha256: str) -> OperatingPoint:
    """`values`, read from `where`, as the operating point of these networks. Raises `ArtifactError`."""
    version = values.get("schema_version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ArtifactError(f"{where}: was made by a newer magsd; install that version")
    try:
        point = OperatingPoint.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        reason = ": ".join(filter(None, (".".join(str(key) for key in first["loc"]), first["msg"])))
        raise ArtifactError(f"{where}: is not an operating point ({reason}); {AGAIN}") from error
    if point.model_sha256 != model_sha256:
        raise ArtifactError(f"{where}: belongs to other networks; {AGAIN}")
    return point
