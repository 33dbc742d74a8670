"""What train and cv share: take the run's lock, train the folds that are left, score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.operating import operating_path
from magsd_cli.artifacts.runs import create_run, lock_path, run_file
from magsd_cli.console import say
from magsd_cli.method.step import guiding_attention
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe
from magsd_cli.stages.calibrate import AS_IT_IS, Wish, calibrate_run, check_wish
from magsd_cli.stages.fold import train_fold
from magsd_cli.stages.provenance import begin_session, end_session
from magsd_cli.stages.scoring import in_words, score
from magsd_cli.stages.setup import Planned
from magsd_cli.stages.workers import train_side_by_side


def crossfit(planned: Planned, devices: Sequence[torch.device], wish: Wish = AS_IT_IS) -> Path:
    """Make the planned run, or what is left of it, with one process for each device; return its folder.

    At the end it is calibrated, for what `wish` asks; a finished run too, where that is new.

    Raises `LockedError` when another process makes it, `ArtifactError` when a run of that name has other
    settings, and what training raises.
    """
    run, cache, folds = planned
    check_wish(wish, run.classes)
    cache.samples()  # needed at the end of each fold: if it is damaged, say so before the hours of training
    if not run_file(run.path).exists():
        check_network(run.recipe, len(run.classes))
    with lock(lock_path(run.path)):
        run = create_run(run, folds)
        sweep_orphans(run.path)
        if run.complete:
            if wish == AS_IT_IS and operating_path(run.path).exists():
                say(f"{run.path}: every fold is trained and scored; nothing is left to do")
            else:
                calibrate_run(run, wish)
            return run.path
        left = [fold for fold in run.trained if not run.fold_is_done(fold)]
        if len(left) < len(run.trained):
            say(f"{run.path}: {len(run.trained) - len(left)} of {len(run.trained)} folds are done already")
        words = ", ".join(str(device) for device in devices)
        say(f"{run.path}: {len(folds)} images, {len(left)} networks to train on {words}")
        begin_session(run, devices)
        try:
            if len(devices) > 1 and len(left) > 1:
                train_side_by_side(run.path, cache.path, left, devices)
            else:
                for fold in left:
                    train_fold(run, cache, folds, fold, devices[0])
            say(f"{run.path}: {in_words(score(run))}")
            calibrate_run(run, wish)
        finally:
            end_session(run)
    return run.path


def check_network(recipe: Recipe, classes: int) -> None:
    """Build the recipe's network and show it a blank image: what cannot work leaves no run behind.

    Raises `UsageError` for a network that does not take the image size or has no attention to guide the
    training step with, `ArtifactError` where its ImageNet weights are missing.
    """
    model = build_model(recipe.model, classes, recipe.seed).eval()
    with torch.inference_mode():
        output = model(torch.zeros(1, 1, recipe.image.size, recipe.image.size))
    if recipe.train.step == "attention_guided" and recipe.train.augment:
        guiding_attention(output.attention, recipe)
