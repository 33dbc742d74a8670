"""`magsd export`: a run as one file that predicts without torch, checked against the run it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli import __version__
from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.files import check_hash, lock
from magsd_cli.artifacts.model_file import (
    head_of,
    model_file_path,
    open_model_file,
    replace_operating,
    write_model_file,
)
from magsd_cli.artifacts.operating_point import OperatingPoint, read_operating_point
from magsd_cli.artifacts.runs import REFIT, Run, find_cache, model_sha256
from magsd_cli.console import counted, noted, say
from magsd_cli.data.clahe import resize_images
from magsd_cli.data.film import lung_network_of
from magsd_cli.errors import ArtifactError, DeviceError, UsageError
from magsd_cli.evaluation.results import read_cache, read_results
from magsd_cli.export.onnx_network import TOLERANCE, export_network, quantize
from magsd_cli.inference.model import fold_of_content, open_trained
from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx
from magsd_cli.inference.torch_engine import load_ensemble
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.rates import summary
from magsd_cli.settings import Lungs, Network

CHECKED = 16  # images on which torch and ONNX Runtime must agree
SHOWN = 128  # images on which the ranges of the activations are measured
JUDGED = ("accuracy", "auc")
Figures = dict[str, float]


def export(
    *,
    run: Path | None,
    runs: Path,
    out: Path | None = None,
    overwrite: bool = False,
    int8: float | None = None,
    network: Network = Network.folds,
) -> Path:
    """Write the run `run` (None: the newest) as one model file and return its path.

    Without `out` it is the run's own ``model.magsd``, which predict then uses on a CPU; of the refit
    `network` ``refit/model.magsd``. Each network is compared with torch on cached images. With `int8` they
    become 8-bit integers, where out-of-fold accuracy and AUC of the fold networks fall by less than that.
    Raises `ArtifactError` where they differ, and the contract's others.
    """
    opened = open_trained(run, runs, network)
    path = out or model_file_path(opened.path, network)
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; add --overwrite to replace it")
    with lock(path.with_name(f".{path.name}.lock")):
        export_run(opened, path, int8, network)
    return path


def export_run(run: Run, path: Path, int8: float | None = None, network: Network = Network.folds) -> None:
    """Write `network` of `run` as the model file `path`; `int8`: the margin of `quantize_run`, None: float32.

    Raises `ArtifactError` where an export is not its network, or int8 answers too much otherwise.
    """
    images = _images(run)
    with noted(f"{path}: making the model file"):
        networks = _networks(run, run.answering(network), images)
    head = _head(run, network)
    same = f"equal to torch on {counted(len(images), 'image')} within {TOLERANCE:g}"
    equal = f"{counted(len(networks), 'network')}, {same}"
    if network == Network.refit:
        equal = f"the refit network, {same}"
    if int8 is not None:
        with noted(f"{path}: making and measuring 8-bit networks"):
            tested = networks if network == Network.folds else _networks(run, run.trained, images)
            smaller, measured = quantize_run(run.path, tested, int8)
        networks = smaller if network == Network.folds else _quantize_refit(run, networks[REFIT])
        head |= {"precision": "int8", "int8": measured}
        equal += f"; in {in_words(measured)}" + ("" if network == Network.folds else ", of the fold networks")
    lungs = None if run.preprocessing.lungs == Lungs.none else lung_network_of(run.preprocessing).data
    write_model_file(path, head, networks, lungs)
    say(f"{path}: {equal}", path=path, networks=len(networks))


def _networks(run: Run, folds: Sequence[int], images: npt.NDArray[np.uint8]) -> dict[int, bytes]:
    """The networks of `folds` as ONNX, each checked on `images`."""
    models = load_ensemble(run, folds).models
    return {fold: export_network(network, images) for fold, network in zip(folds, models, strict=True)}


def _head(run: Run, network: Network) -> dict[str, Any]:
    """Return the head of the model file of `network`."""
    calibrated, made = model_sha256(run), run.preprocessing
    point = read_operating_point(run.path, calibrated)
    refit = {"fold_networks_sha256": calibrated} if network == Network.refit else {}
    return {
        "name": run.path.name,
        "version": __version__,
        "model_sha256": model_sha256(run, network),
        "classes": list(run.classes),
        "size": run.recipe.image.size,
        **head_of(made),
        "recipe": run.recipe.model_dump(mode="json"),
        "recipe_sha256": run.recipe.hash(),
        "trained_on": fold_of_content(run),
        "operating": None if point is None else point.values(),
        **refit,
    }


def deploy(run: Run, operating: OperatingPoint) -> None:
    """Give a finished run its model files, or those that it has the `operating` point.

    A network that cannot be exported is no reason to fail its training: a warning says so, and predict runs
    torch. Raises `OutputError`.
    """
    for network in [Network.folds, *([Network.refit] if run.fold_is_done(REFIT) else [])]:
        path = model_file_path(run.path, network)
        try:
            if _is_of(run, path, network):
                replace_operating(path, operating)
            else:
                export_run(run, path, network=network)
        except (ArtifactError, DeviceError) as error:
            say(f"{error}; without {path.name} predict uses torch", level="warning")


def _is_of(run: Run, path: Path, network: Network) -> bool:
    """Return whether `path` is a whole model file of these networks of the run."""
    try:
        check_hash(path)
        found, expected = open_model_file(path), (model_sha256(run, network), model_sha256(run))
    except ArtifactError:
        return False
    return (found.model_sha256, found.calibrated_sha256) == expected


def _images(run: Run) -> npt.NDArray[np.uint8]:
    """Images to compare the engines on: spread over the run's cache, noise where that is gone."""
    try:
        images = open_cache(find_cache(run)).images
    except ArtifactError as error:
        say(f"{error}; so the export is checked on noise instead of images", level="warning")
        rng = np.random.default_rng(0)
        side = run.preprocessing.size
        images = rng.integers(0, 256, (CHECKED, 1, side, side), dtype=np.uint8)
    chosen = images[np.linspace(0, len(images) - 1, min(CHECKED, len(images))).astype(int)]
    return resize_images(chosen, run.recipe.image.size)


def quantize_run(
    path: Path, networks: Mapping[int, bytes], margin: float
) -> tuple[dict[int, bytes], dict[str, Any]]:
    """The run's `networks` (fold -> ONNX) in int8, and what was measured: margin, images, fp32, int8.

    Raises `ArtifactError` where out-of-fold accuracy or AUC falls by `margin` or more, or cannot be measured.
    """
    results = read_results(path)
    cache = read_cache(results)
    tested = results.predictions
    if cache is None or tested is None:
        reason = results.missing["cache" if cache is None else "predictions"]
        raise ArtifactError(
            f"{path}: int8 is judged on the run's own images: {reason}; export without --int8"
        )
    run, folds = results.run, results.run.folds().set_index("image_id")
    smaller = {}
    after = np.zeros_like(tested.probabilities)
    for fold, network in networks.items():
        trained_on = folds.loc[folds["fold"] != fold, "index"].to_numpy()
        smaller[fold] = quantize(network, _spread(cache.images, trained_on, run.recipe.image.size))
        ensemble = OnnxEnsemble((open_session(smaller[fold]),), run.recipe.image.size, (fold,))
        mine = tested.tested_in() == fold
        unseen = cache.images[folds.loc[np.array(tested.image_ids)[mine], "index"].to_numpy()]
        after[mine] = predict_onnx(ensemble, unseen).probabilities
    fp32, int8 = _figures(tested), _figures(replace(tested, probabilities=after))
    _judge(fp32, int8, margin, len(tested), str(path))
    return smaller, {"margin": margin, "images": len(tested), "fp32": fp32, "int8": int8}


def _quantize_refit(run: Run, network: bytes) -> dict[int, bytes]:
    """The refit network in int8, its ranges from the images that it was trained on: all of the run's."""
    images = open_cache(find_cache(run)).images
    trained_on = run.folds()["index"].to_numpy()
    return {REFIT: quantize(network, _spread(images, trained_on, run.recipe.image.size))}


def _spread(images: npt.NDArray[np.uint8], among: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.uint8]:
    """Up to `SHOWN` of the images `among`, spread over them, at the network's size."""
    chosen = among[np.linspace(0, len(among) - 1, min(SHOWN, len(among))).astype(int)]
    return resize_images(images[np.sort(chosen)], size)


def _figures(predictions: Predictions) -> Figures:
    """Pooled accuracy and macro AUC; NaN where one is undefined."""
    found = summary(predictions.truth, predictions.probabilities, predictions.classes)
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
    """Say in a line what was measured."""
    figures = [f"{name} {measured['fp32'][name]:.4f} -> {measured['int8'][name]:.4f}" for name in JUDGED]
    return f"int8, out-of-fold {', '.join(figures)} on {measured['images']} images"
