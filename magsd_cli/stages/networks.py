"""The networks of a trained run, read and checked, ready to predict."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from magsd_cli.artifacts.checkpoints import load_weights
from magsd_cli.artifacts.runs import Run, weights_path
from magsd_cli.inference.prediction import Ensemble
from magsd_cli.models.build import build_model


def load_ensemble(
    run: Run, folds: Sequence[int] | None = None, device: torch.device | str = "cpu"
) -> Ensemble:
    """The networks of `folds` (None: all that are trained) on `device`.

    Raises `ArtifactError` where weights are missing, damaged, not finite, or not the recipe's.
    """
    folds = tuple(run.trained if folds is None else folds)
    # The weights come from the run: nothing is to be read from ImageNet's, or to be missed there.
    settings = run.recipe.model.model_copy(update={"weights": "none"})
    models = []
    for fold in folds:
        model = build_model(settings, len(run.classes), run.recipe.seed)
        load_weights(model, weights_path(run.path, fold), run.classes)
        models.append(model.to(device, memory_format=torch.channels_last))
    return Ensemble(
        tuple(models),
        run.classes,
        run.recipe.image.size,
        run.size,
        run.clahe,
        run.clip_limit,
        run.tiles,
        folds,
    )
