"""One fold: train on the others' images, predict its own, and leave weights, history and predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.checkpoints import read_state, write_state, write_weights
from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.runs import (
    Run,
    fold_path,
    fold_predictions_path,
    history_path,
    lock_path,
    state_path,
    weights_path,
)
from magsd_cli.artifacts.tables import path_text, probability_column, write_parquet
from magsd_cli.data.clahe import resize_images
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.prediction import Ensemble, predict_images
from magsd_cli.stages.device import make_repeatable
from magsd_cli.stages.fitting import fit
from magsd_cli.stages.learner import Task, identity
from magsd_cli.stages.networks import trained_network
from magsd_cli.stages.signals import stop_requests

BATCH = 16  # test images at a time


def train_fold(
    run: Run,
    cache: Cache,
    folds: pd.DataFrame,
    fold: int,
    device: torch.device,
    parent: int | None = None,
) -> None:
    """Train the network of `fold`, from where an earlier start left it, and predict the fold's images.

    Does nothing when the fold is done. `parent` is the process to follow when this is a worker.
    Raises `LockedError`, `ArtifactError`, `DivergedError`, `Interrupted`.
    """
    folder = fold_path(run.path, fold)
    with lock(lock_path(folder)):
        if run.fold_is_done(fold):
            return
        sweep_orphans(folder)
        make_repeatable(device, run.threads)
        task = _task(run, cache, folds, fold, device, watched=parent is None)
        model = _fit_and_save(run, task, parent)
        write_parquet(
            fold_predictions_path(run.path, fold), _predictions(run, cache, folds, fold, model, device)
        )


def _task(
    run: Run, cache: Cache, folds: pd.DataFrame, fold: int, device: torch.device, watched: bool
) -> Task:
    index = folds.loc[folds["fold"] != fold, "index"].to_numpy()
    words = f"fold {fold}" if run.kind == "cv" else "training"
    return Task(
        images=_network_images(cache.images[index], run.recipe.image.size),
        labels=cache.labels[index],
        classes=len(run.classes),
        recipe=run.recipe,
        fold=fold,
        device=device,
        title=words,
        watched=watched,
    )


def _network_images(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    return images if images.shape[-1] == size else resize_images(images, size)


def _fit_and_save(run: Run, task: Task, parent: int | None) -> nn.Module:
    state = read_state(state_path(run.path, task.fold))
    if state is not None and state["identity"] != identity(task):
        raise ArtifactError(
            f"{state_path(run.path, task.fold)}: belongs to another training; choose another --name"
        )

    def save(now: dict[str, Any], model: nn.Module) -> None:
        write_state(state_path(run.path, task.fold), now)
        write_weights(weights_path(run.path, task.fold), model.state_dict(), run.classes)
        if now["history"]:
            write_parquet(history_path(run.path, task.fold), pd.DataFrame(now["history"]))

    with stop_requests(parent) as asked:
        fit(task, state, save, asked)
    # What is evaluated is what was written: a checked round trip through the file.
    return trained_network(task.recipe, run.classes, weights_path(run.path, task.fold))


def _predictions(
    run: Run, cache: Cache, folds: pd.DataFrame, fold: int, model: nn.Module, device: torch.device
) -> pd.DataFrame:
    """Rows of the out-of-fold table for the images of `fold`."""
    mine = folds[folds["fold"] == fold]
    ensemble = Ensemble(
        models=(model,),
        classes=run.classes,
        size=run.recipe.image.size,
        cache_size=run.size,
        clahe=run.clahe,
        clip_limit=run.clip_limit,
        tiles=run.tiles,
        folds=(fold,),
    )
    images = cache.images[mine["index"].to_numpy()]
    probabilities = predict_images(ensemble, images, BATCH, device).probabilities
    samples = cache.samples()
    paths = samples[samples["index"] >= 0].set_index("index")["path"]
    columns: dict[str, Any] = {
        "image_id": mine["image_id"].to_numpy(),
        "path": [path_text(paths.loc[i]) for i in mine["index"]],
        "patient_id": mine["patient_id"].to_numpy(),
        "label": mine["label"].to_numpy(),
        "fold": mine["fold"].to_numpy(),
        "predicted": [run.classes[k] for k in probabilities.argmax(axis=1)],
    }
    columns |= {probability_column(name): probabilities[:, k] for k, name in enumerate(run.classes)}
    return pd.DataFrame(columns)
