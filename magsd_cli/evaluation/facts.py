"""All that a report says of a run, read and worked out once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.operating_point import Appearance, Decision, OperatingPoint
from magsd_cli.artifacts.precision import precision_words
from magsd_cli.artifacts.runs import Run
from magsd_cli.evaluation.attention import ShownCases, gather_cases
from magsd_cli.evaluation.external import ExternalPredictions, read_external
from magsd_cli.evaluation.results import Results, read_cache, stored_operating
from magsd_cli.evaluation.shortcuts import ShortcutAudit, audit_shortcuts
from magsd_cli.localization.folder import Localization, read_localizations
from magsd_cli.metrics.calibration import cross_fitted
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.thresholds import ThresholdTarget, cross_fitted_decisions

__all__ = ["Appearance", "Decision", "Facts", "OperatingPoint", "Run", "gather_facts", "precision_words"]


@dataclass(frozen=True)
class Facts:
    """The facts that a report is made from. What is not there is None or empty, and `results.missing` may say
    why.

    calibrated: the predictions, each fold's at the temperature of the others; decisions: whether each image
    is called positive by the temperature and threshold of the others, bool [N]; majority: the commonest
    class; localizations: all that lie beside the run, of whatever networks; prevalence: in 0..1, of the class
    that is decided about, where the model is to be used.
    """

    results: Results
    cache: Cache | None = field(default=None, repr=False)
    predictions: Predictions | None = None
    calibrated: Predictions | None = None
    operating_point: OperatingPoint | None = None
    decisions: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    majority: str = ""
    shortcuts: ShortcutAudit = field(default_factory=ShortcutAudit)
    attention: ShownCases | None = None
    external: ExternalPredictions | None = None
    localizations: tuple[Localization, ...] = ()
    prevalence: float | None = None

    @property
    def scored(self) -> Predictions | None:
        """The predictions where there are metrics as well."""
        return None if self.results.metrics is None else self.predictions


def gather_facts(
    results: Results,
    runs: Path,
    external: Path | None = None,
    truth: Path | None = None,
    prevalence: float | None = None,
) -> Facts:
    """Everything about a run, with the localizations under `runs` and beside it.

    external: predictions on outside images, their labels in the CSV `truth` where that is given. Raises
    `ArtifactError` where something is damaged or does not belong to the run.
    """
    found, cache = results.predictions, read_cache(results)
    shortcuts = audit_shortcuts(results, cache)
    attention = None if cache is None or found is None else gather_cases(results, cache)
    point = stored_operating(results)
    decision = point.decision if point else None
    model, classes = results.hashes.get("networks that predicted", ""), results.run.classes
    counts = results.counts
    return Facts(
        results=results,
        cache=cache,
        predictions=found,
        calibrated=None if found is None else _calibrated(found),
        operating_point=point,
        decisions=None if found is None or decision is None else _decisions(found, decision),
        majority=max(counts, key=lambda name: counts[name], default=""),
        shortcuts=shortcuts,
        attention=attention,
        external=None if external is None else read_external(external, truth, classes, model),
        localizations=tuple(read_localizations((runs, results.run.path.parent))),
        prevalence=prevalence,
    )


def _calibrated(found: Predictions) -> Predictions:
    return replace(found, probabilities=cross_fitted(found.truth, found.probabilities, found.tested_in()))


def _decisions(found: Predictions, decision: Decision) -> npt.NDArray[np.bool_] | None:
    target = ThresholdTarget(found.classes.index(decision.positive), decision.rate, decision.value)
    return cross_fitted_decisions(found.truth, found.probabilities, found.tested_in(), target)
