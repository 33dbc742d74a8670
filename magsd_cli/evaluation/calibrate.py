"""`magsd calibrate`: how a trained run's networks are to be used, from their out-of-fold predictions.

Nothing is trained. The temperature, the threshold and the limits that are stored rest on all out-of-fold
predictions; every figure beside them is cross-fitted: each fold by what the other folds chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.model_file import model_file_path, replace_operating
from magsd_cli.artifacts.operating_point import (
    Appearance,
    CalibrationFigures,
    Confidence,
    Decision,
    DecisionFigures,
    OperatingPoint,
    Plane,
    Temperature,
    operating_path,
    read_operating_point,
    write_operating_point,
)
from magsd_cli.artifacts.runs import Run, lock_path
from magsd_cli.console import noted, say
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.evaluation.results import Results, read_cache, read_results
from magsd_cli.inference.model import open_trained
from magsd_cli.inference.out_of_distribution import (
    appearance_features,
    appearance_to_values,
    cross_fitted_distance,
    fit_appearance,
)
from magsd_cli.metrics.abstention import ASSURANCE, SHARE, confidence_for, tolerance_limit
from magsd_cli.metrics.calibration import (
    apply_temperature,
    brier,
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    log_loss,
)
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.thresholds import (
    SENSITIVITY,
    SPECIFICITY,
    Achieved,
    ThresholdTarget,
    achieved,
    choose_threshold,
    cross_fitted_decisions,
)
from magsd_cli.settings import Network

MOST_IMAGES = 5000  # that the appearance is fitted on: more say nothing new and cost time
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationTargets:
    """The targets of a calibration: `rate` of class `positive` at least `value`; answers for the share
    `coverage`.

    None: as it was stored, or not at all.
    """

    positive: str | None = None
    rate: str | None = None
    value: float | None = None
    coverage: float | None = None


UNCHANGED = CalibrationTargets()


def targets_from_options(
    positive: str | None, sensitivity: float | None, specificity: float | None, coverage: float | None
) -> CalibrationTargets:
    """Make targets of the options --positive, --target-sensitivity or --target-specificity, --coverage.

    Raises `UsageError` where they do not go together.
    """
    targets = {SENSITIVITY: sensitivity, SPECIFICITY: specificity}
    given = {rate: value for rate, value in targets.items() if value is not None}
    if len(given) > 1:
        raise UsageError("--target-sensitivity, --target-specificity: give one; the other follows from it")
    if given and positive is None:
        raise UsageError(f"--target-{next(iter(given))}: also name the class with --positive CLASS")
    if positive is not None and not given:
        raise UsageError(f"--positive {positive}: also give a target, such as --target-sensitivity 0.95")
    rate, value = next(iter(given.items())) if given else (None, None)
    return CalibrationTargets(positive, rate, value, coverage)


def check_targets(targets: CalibrationTargets, classes: tuple[str, ...]) -> None:
    """Raise `UsageError` where the positive class is none of `classes`."""
    if targets.positive is not None and targets.positive not in classes:
        raise UsageError(f"--positive {targets.positive}: no such class; choose {', '.join(classes)}")


def calibrate(*, run: Path | None, runs: Path, targets: CalibrationTargets) -> Path:
    """Write ``operating.json`` of the run `run` (None: the newest) and into its model file; return its path.

    What `targets` leaves open stays as it was stored. Raises `ArtifactError` for a run that is not
    finished or whose predictions are missing, `UsageError` for an unknown class.
    """
    opened = open_trained(run, runs)
    check_targets(targets, opened.classes)
    with lock(lock_path(opened.path)):
        values = calibrate_run(opened, targets)
        for path in (model_file_path(opened.path, network) for network in Network):
            if path.is_file():
                replace_operating(path, values)
    return operating_path(opened.path)


def calibrate_run(run: Run, targets: CalibrationTargets) -> OperatingPoint:
    """Work out how the networks of `run` are to be used, write it beside them and return it."""
    results = read_results(run.path)
    found = results.predictions
    if found is None:
        raise ArtifactError(f"{run.path}: {results.missing['predictions']}; make the run again")
    model = results.hashes["networks that predicted"]
    earlier = _earlier(run, model)
    with noted(f"{run.path}: calibrating"):
        point = OperatingPoint(
            model_sha256=model,
            temperature=_temperature(found),
            decision=_decision(found, run.path, _target(targets, earlier, run.classes)),
            confidence=_confidence(found, _coverage(targets, earlier)),
            appearance=_appearance(results),
        )
    write_operating_point(run.path, point)
    say(f"{operating_path(run.path)}: {in_words(point)}", path=operating_path(run.path))
    return point


def _earlier(run: Run, model: str) -> OperatingPoint | None:
    """Return what was stored for these networks; what cannot be read is replaced."""
    try:
        return read_operating_point(run.path, model)
    except ArtifactError as error:
        say(f"{error}; replacing it", level="warning")
        return None


def _target(
    targets: CalibrationTargets, earlier: OperatingPoint | None, classes: tuple[str, ...]
) -> ThresholdTarget | None:
    if targets.positive is not None and targets.rate is not None and targets.value is not None:
        return ThresholdTarget(classes.index(targets.positive), targets.rate, targets.value)
    stored = earlier.decision if earlier else None
    return ThresholdTarget(classes.index(stored.positive), stored.rate, stored.value) if stored else None


def _coverage(targets: CalibrationTargets, earlier: OperatingPoint | None) -> float | None:
    if targets.coverage is not None:
        return targets.coverage if targets.coverage < 1 else None
    return earlier.confidence.coverage if earlier and earlier.confidence else None


def _temperature(found: Predictions) -> Temperature:
    truth, scores, folds = found.truth, found.probabilities, found.tested_in()
    scaled = cross_fitted(truth, scores, folds) if len(np.unique(folds)) > 1 else None
    return Temperature(
        value=fit_temperature(truth, scores),
        images=len(truth),
        before=_calibration_figures(truth, scores),
        cross_fitted=None if scaled is None else _calibration_figures(truth, scaled),
    )


def _calibration_figures(truth: npt.NDArray[np.int64], scores: Floats) -> CalibrationFigures:
    return CalibrationFigures(
        ece=expected_calibration_error(truth, scores),
        brier=brier(truth, scores),
        log_loss=log_loss(truth, scores),
    )


def _decision(found: Predictions, run: Path, target: ThresholdTarget | None) -> Decision | None:
    """The threshold for `target`, what it achieves where it was chosen, and cross-fitted."""
    if target is None:
        return None
    truth, scores, patients = found.truth, found.probabilities, found.patients
    name, positive = found.classes[target.positive], truth == target.positive
    own = apply_temperature(scores, fit_temperature(truth, scores))[:, target.positive]
    threshold = choose_threshold(positive, own, target.rate, target.value)
    if threshold is None:
        raise ArtifactError(f"{run}: has no tested image of {name}, or none else; name another --positive")
    calls = cross_fitted_decisions(truth, scores, found.tested_in(), target)
    return Decision.model_validate(
        {
            "positive": name,
            "rate": target.rate,
            "value": target.value,
            "threshold": threshold,
            "apparent": _figures(achieved(positive, own >= threshold, patients)),
            "cross_fitted": None if calls is None else _figures(achieved(positive, calls, patients)),
            "images": len(truth),
            "positives": int(positive.sum()),
        }
    )


def _figures(found: Achieved) -> DecisionFigures:
    return DecisionFigures.model_validate(found._asdict())


def _confidence(found: Predictions, coverage: float | None) -> Confidence | None:
    """The least confidence that answers the share `coverage` of the out-of-fold images."""
    if coverage is None:
        return None
    temperature = fit_temperature(found.truth, found.probabilities)
    confidence = apply_temperature(found.probabilities, temperature).max(axis=1)
    return Confidence(coverage=coverage, least=confidence_for(confidence, coverage))


def _appearance(results: Results) -> Appearance | None:
    """Measure how the run's images look, and the limit that few more than 5% of such images exceed."""
    cache = read_cache(results)
    if cache is None:
        say(
            f"{results.missing['cache']}; so predict cannot recognise what is not a chest film",
            level="warning",
        )
        return None
    folds = results.run.folds()
    if len(folds) > MOST_IMAGES:
        folds = folds.sample(MOST_IMAGES, random_state=results.run.recipe.seed)
    features = appearance_features(cache.images[folds["index"].to_numpy()])
    distances = cross_fitted_distance(features, folds["fold"].to_numpy())
    if distances is None:
        say(
            "too few images to learn how they look; predict cannot recognise what is not a chest film",
            level="warning",
        )
        return None
    known = folds.loc[folds["patient_id"] != "", "patient_id"]
    patients = known.nunique() + len(folds) - len(known)
    limit, assured = tolerance_limit(distances, patients)
    own = {name: (folds["label"] == name).to_numpy() for name in results.run.classes}
    return Appearance(
        limit=limit,
        share=SHARE,
        assurance=ASSURANCE if assured else None,
        referred=float((distances > limit).mean()),
        by_class={
            name: (int((distances[mine] > limit).sum()), int(mine.sum())) for name, mine in own.items()
        },
        images=len(folds),
        patients=int(patients),
        plane=Plane(**appearance_to_values(fit_appearance(features))),
    )


def in_words(point: OperatingPoint) -> str:
    """One line for people."""
    said = [f"temperature {point.temperature.value:.2f}"]
    decision = point.decision
    if decision is not None:
        figures = decision.cross_fitted or decision.apparent
        sensitivity, specificity = _percent(figures.sensitivity), _percent(figures.specificity)
        how = (
            "cross-fitted"
            if decision.cross_fitted
            else "on the images it was chosen on, so slightly optimistic"
        )
        rates = f"sensitivity {sensitivity}, specificity {specificity}%, {how}"
        said.append(f"{decision.positive} from {decision.threshold:.3f} ({rates})")
    if point.confidence is not None:
        said.append(f"refers below a confidence of {point.confidence.least:.3f}")
    if point.appearance is not None:
        said.append(
            f"refers {100 * point.appearance.referred:.1f}% of images like these as unlike the training "
            "images"
        )
    return ", ".join(said)


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"
