"""Beside localize's figures: shuffled and untrained attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.engines import Ask
from magsd_cli.inference.model import Model
from magsd_cli.localization.measure import Target, measure
from magsd_cli.localization.regions import find_region, share_inside
from magsd_cli.localization.threshold import Floats, Held, thresholds, truth_kind
from magsd_cli.recipe import recipe_from_values

OTHERS = 20  # images whose attention makes an image's shuffled control


def untrained_asker(model: Model) -> Ask:
    """What answers about one image with the networks as they were before they were trained (on the CPU)."""
    from magsd_cli.inference.torch_engine import predict_images, untrained_ensemble

    recipe = recipe_from_values(model.recipe, model.name)
    ensemble = untrained_ensemble(recipe, model.classes, model.folds, model.preparation.size)

    def ask(image: npt.NDArray[np.uint8], folds: tuple[int, ...]) -> Prediction:
        return predict_images(ensemble.only(folds), image, 1, with_attention=True)

    return ask


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
            others = _others(path, [p for p in counted if truth_kind(held[p]) == truth_kind(one)], held, rng)
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
