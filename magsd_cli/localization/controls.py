"""Beside localize's figures: shuffled and untrained attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.engines import AttentionEngine
from magsd_cli.inference.model import Model
from magsd_cli.localization.measure import AttendedImage, Finding, measure
from magsd_cli.localization.regions import Mask, find_region, share_inside
from magsd_cli.localization.threshold import Floats, PendingImage, thresholds, truth_kind
from magsd_cli.recipe import recipe_from_values

OTHERS = 20  # images whose attention makes an image's shuffled control


def has_torch() -> bool:
    """Return whether untrained networks can be made here: a host that only screens has no torch."""
    return find_spec("torch") is not None


def untrained_attention_engine(model: Model) -> AttentionEngine:
    """Return an engine for one image with the networks as they were before training (on the CPU)."""
    from magsd_cli.inference.torch_engine import predict_images, untrained_ensemble

    recipe = recipe_from_values(model.recipe, model.name)
    ensemble = untrained_ensemble(recipe, model.classes, model.folds)

    def ask(image: npt.NDArray[np.uint8], folds: tuple[int, ...]) -> Prediction:
        return predict_images(ensemble.only(folds), image, 1, with_attention=True)

    return ask


def control_columns(
    pending: Mapping[Path, PendingImage], given: float | None
) -> dict[Path, dict[str, float]]:
    """The columns of both controls for each image that counts (see the module's first lines)."""
    mine = thresholds(pending, given)
    asked = all(one.untrained is not None for one in pending.values())
    theirs = thresholds(pending, given, untrained=True) if asked else {}
    counted = [path for path, one in pending.items() if one.attended.unseen is not False]
    found: dict[Path, dict[str, float]] = {path: {} for path in counted}
    rng = np.random.default_rng(0)
    for path in counted:
        one = pending[path]
        columns = found[path]
        if one.finding is not None:
            if one.untrained is not None:
                columns |= _named("untrained_", _fit(one.untrained, theirs[path].value, one.finding))
            others = _others(
                path, [p for p in counted if truth_kind(pending[p]) == truth_kind(one)], pending, rng
            )
            fits = [
                _fit(pending[other].attended.attention, mine[path].value, one.finding) for other in others
            ]
            if fits:
                means = {name: float(np.mean([fit[name] for fit in fits])) for name in fits[0]}
                columns |= _named("control_", means)
        if one.lungs is not None:
            if one.untrained is not None:
                columns["untrained_lungs"] = share_inside(one.untrained, one.lungs, one.attended.view.frame)
            others = _others(path, [p for p in counted if pending[p].lungs is not None], pending, rng)
            shares = [_share_of(pending[other].attended, one.lungs) for other in others]
            if shares:
                columns["control_lungs"] = float(np.mean(shares))
    return found


def _fit(attention: Floats, threshold: float, finding: Finding) -> dict[str, float]:
    shape = (finding.mask.shape[0], finding.mask.shape[1])
    return measure(find_region(attention, shape, threshold), finding)


def _share_of(other: AttendedImage, lungs: Mask) -> float:
    """The share of another image's attention inside `lungs`, as if it were this image's."""
    frame, view = other.view.frame, other.view
    there = None if frame is None else frame.on(view.shape, (lungs.shape[0], lungs.shape[1]))
    return share_inside(other.attention, lungs, there)


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _others(
    path: Path, group: Sequence[Path], pending: Mapping[Path, PendingImage], rng: np.random.Generator
) -> list[Path]:
    """All images of `group` of other patients, or `OTHERS` of them at random."""
    patient = pending[path].attended.patient
    others = [p for p in group if p != path and not (patient and pending[p].attended.patient == patient)]
    if len(others) <= OTHERS:
        return others
    return [others[i] for i in rng.choice(len(others), OTHERS, replace=False)]
