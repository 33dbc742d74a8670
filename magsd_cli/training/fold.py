"""One fold: train on the others' images, predict its own, and leave weights, history and predictions.

The refit network is trained in the same way, on the images of all folds; none are left for it to predict.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from magsd_cli.artifacts.checkpoints import read_state, write_state, write_weights
from magsd_cli.artifacts.files import lock, sweep_orphans, write_bytes
from magsd_cli.artifacts.runs import (
    REFIT,
    REFIT_FIGURES,
    Run,
    fold_path,
    fold_predictions_path,
    history_path,
    lock_path,
    network_words,
    refit_path,
    remove_state,
    state_mark_path,
    state_path,
    weights_path,
    write_json_hashed,
)
from magsd_cli.artifacts.tables import path_text, probability_column, write_parquet
from magsd_cli.artifacts.tensorboard import scalar_writer, scalars_path
from magsd_cli.console import KEEP_STATE_VARIABLE, OpenBar, counted, is_set, noted, say
from magsd_cli.data.clahe import resize_images
from magsd_cli.errors import ArtifactError, DivergedError
from magsd_cli.inference.torch_engine import Ensemble, predict_images, trained_network
from magsd_cli.runtime.device import check_precision, keep_freed_memory, make_repeatable, set_tf32
from magsd_cli.runtime.signals import stop_requests
from magsd_cli.training.ddp import ALONE, Ranks, gather
from magsd_cli.training.loop import train
from magsd_cli.training.plan import Plan
from magsd_cli.training.resume import SavedState, check_identity
from magsd_cli.training.state import Task

BATCH = 16  # test images at a time
CHECKED = 128  # images at most that the refit network must answer


def train_fold(
    plan: Plan,
    fold: int,
    device: torch.device,
    parent: int | None = None,
    ranks: Ranks = ALONE,
    bar: OpenBar | None = None,
) -> None:
    """Train the network of `fold`, from where an earlier start left it, and predict the fold's images.

    `REFIT` is trained on the images of all folds and predicts none.
    Does nothing when the fold is done. `parent` is the process to follow when this is a worker. Of several
    `ranks` that train it together rank 0 alone writes. `bar` opens what shows the progress.
    Raises `LockedError`, `ArtifactError`, `DivergedError`, `Interrupted`.
    """
    run = plan.run
    folder = fold_path(run.path, fold)
    with lock(lock_path(folder)) if ranks.rank == 0 else nullcontext():
        if gather(run.fold_is_done(fold), ranks)[0]:
            if ranks.rank == 0:
                sweep_state(run, fold)
            return
        check_precision(device, run.training_recipe.train.precision)
        if ranks.rank == 0:
            sweep_orphans(folder)
        make_repeatable(device, plan.threads)
        if device.type == "cpu":
            keep_freed_memory()
        set_tf32(run.recipe.train.tf32)
        task = training_task(plan, fold, device, ranks)
        _train_and_save(run, replace(task, bar=bar), parent)
        if ranks.rank == 0 and fold == REFIT:
            facts = _refit_facts(plan, device)
            _mark_state(run, fold)
            write_json_hashed(refit_path(run.path), facts)
            sweep_state(run, fold)
        elif ranks.rank == 0:
            with noted(f"{task.title}: predicting the images held out"):
                table = _predictions(plan, fold, device)
            _mark_state(run, fold)
            write_parquet(fold_predictions_path(run.path, fold), table)
            sweep_state(run, fold)
            _say_done(task, table)


def _say_done(task: Task, table: pd.DataFrame) -> None:
    accuracy, images = float((table["predicted"] == table["label"]).mean()), len(table)
    words = f"{task.title}: done, accuracy {accuracy:.1%} on the {counted(images, 'image')} held out"
    say(words, fold=task.fold, images=images, accuracy=accuracy)


def _mark_state(run: Run, fold: int) -> None:
    """Note before a fold is finished that its training state then goes, or that it was asked to stay."""
    mark = state_mark_path(run.path, fold)
    if is_set(KEEP_STATE_VARIABLE):
        mark.unlink(missing_ok=True)
    else:
        write_bytes(mark, b"")


def sweep_state(run: Run, fold: int) -> None:
    """Remove the training state of a finished fold that was not asked to keep it.

    A kill between the fold's predictions and this leaves the mark, and the next start comes here again. Runs
    of earlier versions have no mark: `magsd runs clean` removes theirs.
    """
    if run.fold_is_done(fold) and state_mark_path(run.path, fold).exists():
        remove_state(run.path, fold)


def training_task(
    plan: Plan, fold: int, device: torch.device, ranks: Ranks = ALONE, most: int | None = None
) -> Task:
    """The training of the network of `fold`, on the images of all other folds.

    most: of those images only so many are held, each standing for several; for timing steps.
    """
    run, cache, folds = plan.run, plan.cache, plan.folds
    index = folds.loc[folds["fold"] != fold, "index"].to_numpy(copy=True)  # pandas' own cannot be written to
    groups = cache.group_ids if any(cache.group_ids) else cache.patient_ids
    words = network_words(fold) if run.kind == "cv" else "training"
    images, rows = cache.images, index
    if most is not None:  # so that nothing large is resized
        images = np.ascontiguousarray(images[np.sort(index[:most])])
        rows = np.arange(len(index)) % len(images)
    return Task(
        images=_network_images(images, run.recipe.image.size),
        labels=cache.labels[index],
        rows=rows,
        groups=tuple(groups[i] for i in index),
        classes=len(run.classes),
        recipe=run.training_recipe,
        fold=fold,
        device=device,
        title=words,
        ranks=ranks,
    )


def _network_images(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    return images if images.shape[-1] == size else resize_images(images, size)


def _train_and_save(run: Run, task: Task, parent: int | None) -> None:
    """Train with the files of the fold: the state that it goes on from, what it saves, its curves."""
    place = state_path(run.path, task.fold)
    saved = cast("SavedState | None", read_state(place))
    if saved is not None:
        check_identity(task, saved, str(place))

    def save(now: SavedState, model: nn.Module) -> None:
        if task.ranks.rank:
            return
        write_weights(weights_path(run.path, task.fold), model.state_dict(), run.classes)
        if now["history"]:
            write_parquet(history_path(run.path, task.fold), pd.DataFrame(now["history"]))
            write_scalars(now["history"])
        write_state(place, now)  # last: after a kill in between, what the state does not know is done again

    known = 0 if saved is None else len(saved["history"])
    wanted = task.ranks.rank == 0 and scalars_path(run.path).is_dir()
    with (
        stop_requests(parent) as stop_requested,
        scalar_writer(run.path, task.fold, known, wanted) as write_scalars,
    ):
        model = train(task, saved, save, stop_requested)
        if saved is not None and saved["epoch"] == run.recipe.train.epochs:
            save(saved, model)  # an earlier magsd wrote the state first: a kill may have come before the rest


def _predictions(plan: Plan, fold: int, device: torch.device) -> pd.DataFrame:
    """Rows of the out-of-fold table for the images of `fold`."""
    run, cache, folds = plan.run, plan.cache, plan.folds
    mine = folds[folds["fold"] == fold]
    probabilities = _answers(plan, fold, mine["index"].to_numpy(), device)
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


def _answers(
    plan: Plan, fold: int, index: npt.NDArray[np.int64], device: torch.device
) -> npt.NDArray[np.float32]:
    """Probabilities [N,K] of the trained network of `fold` for the images `index` [N] of the cache.

    Raises `DivergedError` where one is not finite.
    """
    run = plan.run
    # What is evaluated is what was written: a checked round trip through the file.
    model = trained_network(run.recipe, run.classes, weights_path(run.path, fold))
    ensemble = Ensemble((model,), run.classes, run.recipe.image.size, (fold,))
    try:
        return predict_images(ensemble, plan.cache.images[index], BATCH, device).probabilities
    except ArtifactError as error:  # finite on training images, and not on these
        which = "an image" if fold == REFIT else "a test image"
        raise DivergedError(
            f"{network_words(fold)}: the network's answer for {which} is not finite, because training "
            f"diverged; try larger images or batches, or --set train.lr={run.recipe.train.lr / 10:g}"
        ) from error


def _refit_facts(plan: Plan, device: torch.device) -> dict[str, Any]:
    """Return the content of ``refit.json``, once the network answers images of its training with finite
    numbers.
    """
    index = plan.folds["index"].to_numpy()
    _answers(plan, REFIT, index[:: math.ceil(len(index) / CHECKED)], device)
    return {"trained_on_images": len(index), "classes": list(plan.run.classes), "figures": REFIT_FIGURES}
