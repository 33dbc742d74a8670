"""The networks of a trained run, read and checked, ready to predict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from magsd_cli.artifacts.checkpoints import load_weights
from magsd_cli.artifacts.runs import Run, weights_path
from magsd_cli.inference.prediction import Ensemble
from magsd_cli.models.build import build_model
from magsd_cli.models.mirrored import Mirrored
from magsd_cli.recipe import Recipe
from magsd_cli.stages.schedule import WEIGHTS, generator_seed


def load_ensemble(
    run: Run, folds: Sequence[int] | None = None, device: torch.device | str = "cpu"
) -> Ensemble:
    """The networks of `folds` (None: all that are trained) on `device`.

    Raises `ArtifactError` where weights are missing, damaged, not finite, or not the recipe's.
    """
    folds = tuple(run.trained if folds is None else folds)
    models = []
    for fold in folds:
        model = trained_network(run.recipe, run.classes, weights_path(run.path, fold))
        models.append(model.to(device).to(memory_format=torch.channels_last))
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


def trained_network(recipe: Recipe, classes: Sequence[str], weights: Path) -> nn.Module:
    """The network that predicts with `weights`, as the recipe asks: with its mirror image or alone.

    Raises `ArtifactError` where the weights are missing, damaged, not finite, or not the recipe's.
    """
    # The weights come from the run: nothing is to be read from ImageNet's, or to be missed there.
    settings = recipe.model.model_copy(update={"weights": "none"})
    model = build_model(settings, len(classes), recipe.seed)
    load_weights(model, weights, tuple(classes))
    return Mirrored(model) if recipe.image.mirror else model


def untrained_ensemble(
    recipe: Recipe, classes: Sequence[str], folds: Sequence[int], cache_size: int
) -> Ensemble:
    """The networks of `folds` with the random weights that training from scratch begins with: a control."""
    settings = recipe.model.model_copy(update={"weights": "none"})
    models = []
    for fold in folds:
        model = build_model(settings, len(classes), generator_seed(recipe.seed, fold, 0, WEIGHTS))
        models.append(Mirrored(model) if recipe.image.mirror else model)
    return Ensemble(tuple(models), tuple(classes), recipe.image.size, cache_size, folds=tuple(folds))
