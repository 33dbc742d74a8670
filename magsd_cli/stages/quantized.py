"""The gate of int8: a run's networks in 8-bit integers, where their out-of-fold answers are as good.

Ranges are measured on images that each network was trained on; what they are worth is measured on those that
it never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.data.clahe import resize_images
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx
from magsd_cli.inference.onnx_int8 import quantize
from magsd_cli.metrics.rates import summary
from magsd_cli.stages.evidence import gather, read_cache

SHOWN = 128  # images on which the ranges of the activations are measured
JUDGED = ("accuracy", "auc")
Figures = dict[str, float]


def quantize_run(
    path: Path, networks: Mapping[int, bytes], margin: float
) -> tuple[dict[int, bytes], dict[str, Any]]:
    """The run's `networks` (fold -> ONNX) in int8, and what was measured: margin, images, fp32, int8.

    Raises `ArtifactError` where out-of-fold accuracy or AUC falls by `margin` or more, or cannot be measured.
    """
    evidence = gather(path)
    cache = read_cache(evidence)
    table = evidence.predictions
    if cache is None or table is None or evidence.probabilities is None:
        reason = evidence.missing["cache" if cache is None else "predictions"]
        raise ArtifactError(
            f"{path}: int8 is judged on the run's own images: {reason}; export without --int8"
        )
    run, folds = evidence.run, evidence.run.folds().set_index("image_id")
    smaller = {}
    found = np.zeros_like(evidence.probabilities)
    for fold, network in networks.items():
        trained_on = folds.loc[folds["fold"] != fold, "index"].to_numpy()
        smaller[fold] = quantize(network, _spread(cache.images, trained_on, run.recipe.image.size))
        ensemble = OnnxEnsemble((open_session(smaller[fold]),), run.recipe.image.size, (fold,))
        mine = (table["fold"] == fold).to_numpy()
        unseen = cache.images[folds.loc[table.loc[mine, "image_id"], "index"].to_numpy()]
        found[mine] = predict_onnx(ensemble, unseen).probabilities
    truth = evidence.truth()
    before = _figures(truth, evidence.probabilities, run.classes)
    after = _figures(truth, found, run.classes)
    _judge(before, after, margin, len(truth), str(path))
    return smaller, {"margin": margin, "images": len(truth), "fp32": before, "int8": after}


def _spread(images: npt.NDArray[np.uint8], among: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint8]:
    """Up to `SHOWN` of the images `among`, spread over them, at the network's size."""
    chosen = among[np.linspace(0, len(among) - 1, min(SHOWN, len(among))).astype(int)]
    return resize_images(images[np.sort(chosen)], size)


def _figures(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.floating], classes: tuple[str, ...]
) -> Figures:
    """Pooled accuracy and macro AUC; NaN where one is undefined."""
    found = summary(truth, probabilities, classes)
    return {name: float("nan") if found[name] is None else float(found[name]) for name in JUDGED}


def _judge(before: Figures, after: Figures, margin: float, images: int, where: str) -> None:
    falls = {name: before[name] - after[name] for name in JUDGED}
    if all(fall < margin for fall in falls.values()):
        return
    figures = ", ".join(f"{name} {before[name]:.4f} -> {after[name]:.4f}" for name in JUDGED)
    raise ArtifactError(
        f"{where}: int8 is refused: out-of-fold {figures} on {images} images, a fall of {margin:g} or more; "
        "export without --int8, or allow more with --margin"
    )


def in_words(measured: Mapping[str, Any]) -> str:
    """What was measured, as a line."""
    figures = [f"{name} {measured['fp32'][name]:.4f} -> {measured['int8'][name]:.4f}" for name in JUDGED]
    return f"int8, out-of-fold {', '.join(figures)} on {measured['images']} images"
