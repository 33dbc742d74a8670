"""An operating point as `magsd calibrate` writes one, with a small plane; to be changed at will."""

from __future__ import annotations

from typing import Any

from magsd_cli.artifacts.operating_point import OperatingPoint

FIGURES = {
    "sensitivity": 0.8,
    "sensitivity_interval": [0.5, 0.95],
    "specificity": 0.8,
    "specificity_interval": [0.6, 0.9],
}
VALUES: dict[str, Any] = {
    "appearance": {
        "assurance": 0.95,
        "by_class": {"COVID-19": [2, 20], "Normal": [1, 80], "Absent": [0, 0]},
        "images": 100,
        "limit": 2.5,
        "patients": 80,
        "plane": {
            "components": [[0.089687, -1.4074e-05]],
            "mean": [1.0, -0.5],
            "residual": 151.28193359375,
            "scale": [2.0, 0.25],
            "variances": [60.5],
        },
        "referred": 0.03,
        "share": 0.05,
    },
    "confidence": {"coverage": 0.9, "least": 0.5},
    "decision": {
        "apparent": FIGURES | {"sensitivity": 0.9},
        "cross_fitted": FIGURES,
        "images": 40,
        "positive": "COVID-19",
        "positives": 10,
        "rate": "sensitivity",
        "threshold": 0.1234,
        "value": 0.9,
    },
    "model_sha256": "a" * 64,
    "schema_version": 1,
    "temperature": {
        "before": {"brier": 0.25, "ece": 0.125, "log_loss": 0.5},
        "cross_fitted": None,
        "images": 40,
        "value": 2.0,
    },
}


def operating_point(**changes: Any) -> OperatingPoint:
    """`VALUES` as an operating point, with other parts."""
    return OperatingPoint.model_validate(VALUES | changes)


def decision(**changes: Any) -> dict[str, Any]:
    """The decision of `VALUES`, changed."""
    return {**VALUES["decision"], **changes}
