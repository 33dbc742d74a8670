"""`magsd export`: a run as one file that predicts without torch, checked against the run it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli import __version__
from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.deployed import deployed_path, write_deployed
from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.operating import read_operating
from magsd_cli.artifacts.runs import Run
from magsd_cli.console import say
from magsd_cli.data.clahe import resize_images
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.inference.onnx_export import TOLERANCE, export_network
from magsd_cli.stages.networks import load_ensemble
from magsd_cli.stages.trained import find_cache, fold_of_content, model_sha256, open_trained

CHECKED = 16  # images on which torch and ONNX Runtime must agree


def export(*, run: Path | None, runs: Path, out: Path | None = None, overwrite: bool = False) -> Path:
    """Write the run `run` (None: the newest) as one model file and return its path.

    Without `out` it is the run's own ``model.magsd``, which predict then uses on a CPU. Each network is
    compared with torch on cached images. Raises `ArtifactError` where they differ, and the contract's others.
    """
    opened = open_trained(run, runs)
    path = out or deployed_path(opened.path)
    if out is not None and out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; add --overwrite to replace it")
    with lock(path.with_name(f".{path.name}.lock")):
        export_run(opened, path)
    return path


def export_run(run: Run, path: Path) -> None:
    """Write `run` as the model file `path`. Raises `ArtifactError` where an export is not its network."""
    images = _images(run)
    ensemble = load_ensemble(run)
    networks = {
        fold: export_network(network, images)
        for fold, network in zip(run.trained, ensemble.models, strict=True)
    }
    digest = model_sha256(run)
    head = {
        "name": run.path.name,
        "version": __version__,
        "model_sha256": digest,
        "classes": list(run.classes),
        "size": run.recipe.image.size,
        "cache_size": run.size,
        "clahe": run.clahe,
        "clip_limit": run.clip_limit,
        "tiles": run.tiles,
        "recipe": run.recipe.model_dump(mode="json"),
        "recipe_sha256": run.recipe.hash(),
        "trained_on": fold_of_content(run),
        "operating": read_operating(run.path, digest),
    }
    write_deployed(path, head, networks)
    count = len(networks)
    say(f"{path}: {count} networks, equal to torch's on {len(images)} images to {TOLERANCE:g}")


def _images(run: Run) -> npt.NDArray[np.uint8]:
    """Images to compare the engines on: spread over the run's cache, noise where that is gone."""
    try:
        images = open_cache(find_cache(run)).images
    except ArtifactError as error:
        say(f"{error}; so the export is checked on noise instead of on images", level="warning")
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (CHECKED, 1, run.size, run.size), dtype=np.uint8)
    chosen = images[np.linspace(0, len(images) - 1, min(CHECKED, len(images))).astype(int)]
    return resize_images(chosen, run.recipe.image.size)
