"""Controls that have maps: networks that have not learned the task, and the film's own brightness."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.engines import AttentionEngine
from magsd_cli.inference.model import Model
from magsd_cli.localization.choice import BRIGHTNESS
from magsd_cli.localization.measure import AttendedImage, Maps, candidate_maps, laid_on, maps_of
from magsd_cli.localization.views import View
from magsd_cli.recipe import recipe_from_values
from magsd_cli.settings import Map

UNTRAINED, START = "untrained", "start"
CELLS = 32  # a side, of the brightness: finer, noise would settle where its maximum is


def control_engines(model: Model) -> tuple[dict[str, AttentionEngine], dict[str, str]]:
    """Who answers about one image for each control that is a network, on the CPU; and why others cannot.

    `UNTRAINED`: random weights; `START`: the weights that training began with, of a recipe that names any.
    """
    pretrained = recipe_from_values(model.recipe, model.name).model.weights != "none"
    if find_spec("torch") is None:  # a host that only screens is without it
        names = (UNTRAINED, START) if pretrained else (UNTRAINED,)
        return {}, dict.fromkeys(names, "networks in training need torch, which is not installed")
    engines = {UNTRAINED: _engine(model, first_weights=False)}
    missing = {}
    if pretrained:
        try:
            engines[START] = _engine(model, first_weights=True)
        except (ArtifactError, UsageError) as error:
            missing[START] = str(error)
    return engines, missing


def _engine(model: Model, first_weights: bool) -> AttentionEngine:
    from magsd_cli.inference.torch_engine import predict_images, untrained_ensemble

    recipe = recipe_from_values(model.recipe, model.name)
    ensemble = untrained_ensemble(recipe, model.classes, model.folds, first_weights)

    def ask(image: npt.NDArray[np.uint8], folds: tuple[int, ...]) -> Prediction:
        return predict_images(ensemble.only(folds), image, 1, with_attention=True)

    return ask


def control_maps(
    attended: AttendedImage, engines: Mapping[str, AttentionEngine], wanted: Map
) -> dict[str, Maps]:
    """The maps of each control of one image, by the names of the networks' own."""
    names = candidate_maps(attended.maps, wanted)
    bright = brightness(attended.view)
    found: dict[str, Maps] = {BRIGHTNESS: dict.fromkeys(names, bright)}
    assert attended.view.image is not None
    for control, ask in engines.items():
        answer = ask(attended.view.image[None, None], attended.folds)
        found[control] = laid_on(attended.view, maps_of(answer))
    return found


def brightness(view: View) -> npt.NDArray[np.float32]:
    """The mean gray of a film in `CELLS` x `CELLS` cells, its contrast not equalised: float32 [h,w]."""
    assert view.shown is not None
    cells = (min(CELLS, view.shown.shape[1]), min(CELLS, view.shown.shape[0]))
    gray = view.shown.astype(np.float32)
    return np.asarray(cv2.resize(gray, cells, interpolation=cv2.INTER_AREA), np.float32)
