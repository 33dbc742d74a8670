"""Beside localize's figures: thresholds chosen on other folds, shuffled and untrained attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.inference.outcome import Prediction
from magsd_cli.inference.regions import Mask, find_region, share_inside
from magsd_cli.metrics.localization import best_threshold, kind_of
from magsd_cli.recipe import recipe_from_values
from magsd_cli.stages.engines import Ask
from magsd_cli.stages.marking import Marked, Target, measure, threshold_curve
from magsd_cli.stages.trained import Model

Floats = npt.NDArray[np.float32]
OTHERS = 20  # images whose attention makes an image's shuffled control
DEFAULT_THRESHOLD = 0.5
GIVEN, CHOSEN, DEFAULT = "given", "chosen", "default"


@dataclass(frozen=True)
class Held:
    """An image with truth, until all of them are known: thresholds and controls need the others.

    `aim`: its finding; `lungs` bool [H,W]; `untrained`: attention [h,w] of the untrained networks; the curves
    say how the IoU follows the threshold, for the trained and the untrained attention.
    """

    answer: Marked
    aim: Target | None
    lungs: Mask | None = field(repr=False)
    untrained: Floats = field(repr=False)
    patient: str = ""
    curve: tuple[float, ...] = ()
    untrained_curve: tuple[float, ...] = ()


class Threshold(NamedTuple):
    """A share of the attention's range, where it is from, and how many images chose it."""

    value: float
    source: str
    images: int | None = None


def hold(
    answer: Marked, aim: Target | None, lungs: Mask | None, untrained: Floats, patient: str | None
) -> Held:
    """Keep an image with truth, and how its IoU would follow the threshold."""
    curves = [tuple(threshold_curve(maps, aim)) if aim else () for maps in (answer.attention, untrained)]
    return Held(answer, aim, lungs, untrained, patient or "", curves[0], curves[1])


def untrained_asker(model: Model) -> Ask:
    """What answers about one image with the networks as they were before they were trained (on the CPU)."""
    from magsd_cli.inference.prediction import predict_images
    from magsd_cli.stages.networks import untrained_ensemble

    recipe = recipe_from_values(model.recipe, model.name)
    ensemble = untrained_ensemble(recipe, model.classes, model.folds, model.preparation.size)

    def ask(image: npt.NDArray[np.uint8], folds: tuple[int, ...]) -> Prediction:
        return predict_images(ensemble.only(folds), image, 1, with_attention=True)

    return ask


def thresholds(
    held: Mapping[Path, Held], given: float | None, untrained: bool = False
) -> dict[Path, Threshold]:
    """The threshold of each image: as `given`, else the best for its kind of truth on the other folds.

    The images of the other folds are judged as the run's networks marked them: in a cross-validation each by
    the network that never saw it. An image that is scored never takes part in the choice of its threshold.
    Where fewer than `metrics.localization.LEAST` images could choose, it is `DEFAULT_THRESHOLD`.
    """
    if given is not None:
        return dict.fromkeys(held, Threshold(given, GIVEN))
    made: dict[tuple[str | None, int | None], Threshold] = {}
    found = {}
    for path, one in held.items():
        group = (_kind(one), one.answer.home)
        if group not in made:
            made[group] = _choose(list(held.values()), *group, untrained)
        found[path] = made[group]
    return found


def _choose(held: Sequence[Held], kind: str | None, home: int | None, untrained: bool) -> Threshold:
    choosers = [
        other.untrained_curve if untrained else other.curve
        for other in held
        if kind and _kind(other) == kind and other.answer.home not in (None, home)
    ]
    best = best_threshold(choosers)
    return Threshold(DEFAULT_THRESHOLD, DEFAULT) if best is None else Threshold(best[0], CHOSEN, best[1])


def control_columns(held: Mapping[Path, Held], given: float | None) -> dict[Path, dict[str, float]]:
    """The columns of both controls for each image that counts (see the module's first lines)."""
    mine, theirs = thresholds(held, given), thresholds(held, given, untrained=True)
    counted = [path for path, one in held.items() if one.answer.unseen is not False]
    found: dict[Path, dict[str, float]] = {path: {} for path in counted}
    rng = np.random.default_rng(0)
    for path in counted:
        one = held[path]
        columns = found[path]
        if one.aim is not None:
            columns |= _named("untrained_", _fit(one.untrained, theirs[path].value, one.aim))
            others = _others(path, [p for p in counted if _kind(held[p]) == _kind(one)], held, rng)
            fits = [_fit(held[other].answer.attention, mine[path].value, one.aim) for other in others]
            if fits:
                means = {name: float(np.mean([fit[name] for fit in fits])) for name in fits[0]}
                columns |= _named("control_", means)
        if one.lungs is not None:
            columns["untrained_lungs"] = share_inside(one.untrained, one.lungs)
            others = _others(path, [p for p in counted if held[p].lungs is not None], held, rng)
            shares = [share_inside(held[other].answer.attention, one.lungs) for other in others]
            if shares:
                columns["control_lungs"] = float(np.mean(shares))
    return found


def _fit(attention: Floats, threshold: float, aim: Target) -> dict[str, float]:
    shape = (aim.mask.shape[0], aim.mask.shape[1])
    return measure(find_region(attention, shape, threshold), aim)


def _named(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _others(
    path: Path, group: Sequence[Path], held: Mapping[Path, Held], rng: np.random.Generator
) -> list[Path]:
    """All images of `group` of other patients, or `OTHERS` of them by lot."""
    patient = held[path].patient
    others = [p for p in group if p != path and not (patient and held[p].patient == patient)]
    if len(others) <= OTHERS:
        return others
    return [others[i] for i in rng.choice(len(others), OTHERS, replace=False)]


def _kind(one: Held) -> str | None:
    return kind_of(one.aim.kind) if one.aim else None
