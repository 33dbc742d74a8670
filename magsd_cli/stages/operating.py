"""The report's sections on how a run's networks are to be used: threshold, referral, coverage."""

from __future__ import annotations

from typing import Any

import numpy as np

from magsd_cli.artifacts.operating import read_operating
from magsd_cli.metrics.calibration import cross_fitted
from magsd_cli.metrics.operating import Aim, cross_fitted_decisions
from magsd_cli.reporting.decided import TITLE, operating_section
from magsd_cli.reporting.document import Block, Heading, not_available
from magsd_cli.reporting.referred import abstention_section
from magsd_cli.stages.evidence import Evidence

MISSING = "operating.json is missing; make it with `magsd calibrate RUN`"


def operating_sections(evidence: Evidence, prevalence: float | None = None) -> list[Block]:
    """Operating point and referral of a run that has predictions. Figures are computed anew from these.

    Raises `ArtifactError` where operating.json is damaged or of other networks.
    """
    assert evidence.predictions is not None
    assert evidence.probabilities is not None
    stored = stored_operating(evidence)
    truth, scores = evidence.truth(), evidence.probabilities
    folds, patients = (
        evidence.predictions["fold"].to_numpy(np.int64),
        list(evidence.predictions["patient_id"]),
    )
    honest = cross_fitted(truth, scores, folds)
    blocks: list[Block] = []
    if stored is None:
        blocks += [Heading(TITLE, 3), not_available(MISSING)]
    else:
        aim = _aim(stored["decision"], evidence.run.classes)
        positive = truth == (aim.positive if aim else 0)
        called = cross_fitted_decisions(truth, scores, folds, aim) if aim else None
        blocks += operating_section(stored["decision"], positive, called, patients, prevalence)
    return blocks + abstention_section(
        stored, MISSING, honest.argmax(axis=1) == truth, honest.max(axis=1), patients
    )


def stored_operating(evidence: Evidence) -> dict[str, Any] | None:
    """The run's operating point, None where it is missing. Raises `ArtifactError` where it does not fit."""
    model = evidence.hashes.get("networks that predicted")
    return None if model is None else read_operating(evidence.run.path, model)


def _aim(decision: dict[str, Any] | None, classes: tuple[str, ...]) -> Aim | None:
    if decision is None:
        return None
    return Aim(classes.index(decision["positive"]), decision["rate"], decision["value"])
