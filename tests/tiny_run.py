"""A cv run as training leaves it, but with random networks: for predict and localize."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.checkpoints import write_weights
from magsd_cli.artifacts.runs import (
    Run,
    create_run,
    metrics_path,
    predictions_path,
    weights_path,
    write_json_hashed,
)
from magsd_cli.models.build import build_model
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Preprocessing
from magsd_cli.training.folds import folds_table

KEYS = ("model.backbone=resnet18", "model.weights=none", "model.attention_maps=4", "image.size=64")
TRAINING_KEYS = (*KEYS, "train.batch_size=6", "train.epochs=2", "train.lr=0.01", 'train.augment=["mixup"]')


def picture(seed: int, side: int = 80) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC))


def write_xrays(folder: Path, count: int = 8) -> Path:
    """Two classes of pictures, all of them new to any run that was made with another folder's seeds."""
    for number in range(count):
        path = folder / ("COVID-19", "Normal")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(number))
    return folder


def write_tiny_run(folder: Path, name: str = "tiny", seed: int = 0, folds: int = 2) -> Path:
    """``folder/runs/<name>``, a complete run on ``folder/xrays``; the networks differ with `seed`."""
    xrays = write_xrays(folder / "xrays")
    path, _ = prepare(PrepareOptions([xrays], folder / "runs", preprocessing=Preprocessing(64), workers=1))
    cache = open_cache(path)
    recipe = load_recipe("base", [*KEYS, f"seed={seed}"])
    table = folds_table(cache, folds, seed)
    run = Run(
        path=folder / "runs" / name, kind="cv", recipe=recipe, classes=cache.classes,
        cache_path=cache.path.resolve(), cache_digest=cache.digest,
        preprocessing=cache.preprocessing, fold_count=folds, trained=tuple(range(folds)),
        threads=1, patients_known=False,
    )  # fmt: skip
    create_run(run, table)
    for fold in run.trained:
        network = build_model(recipe.model, len(run.classes), seed * 100 + fold)
        write_weights(weights_path(run.path, fold), network.state_dict(), run.classes)
    write_json_hashed(predictions_path(run.path), {})  # what makes a run complete, without its content
    write_json_hashed(metrics_path(run.path), {})
    return run.path
