"""Network weights (safetensors) and the state that training resumes from. Neither ever executes code."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from magsd_cli.artifacts.files import check_hash, hashed_path
from magsd_cli.errors import ArtifactError

SCHEMA_VERSION = 1
METADATA = "magsd"
AGAIN = "train it again, or take an older copy"


def write_weights(path: Path, weights: Mapping[str, torch.Tensor], classes: Sequence[str]) -> None:
    """Write a network's state dict with its class names, atomically and with its hash beside it."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    # One key: safetensors writes several in random order, and equal weights must be equal files.
    head = json.dumps({"schema_version": SCHEMA_VERSION, "classes": list(classes)}, sort_keys=True)
    with hashed_path(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(plain, {METADATA: head}))


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """The state dict and the class names of a weights file.

    Raises `ArtifactError` when it is missing, damaged, of a later schema, or holds a non-finite value.
    """
    check_hash(path)
    try:
        data = path.read_bytes()  # safetensors opens no file whose name is not UTF-8
        weights = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        head = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][METADATA])
        classes = tuple(head["classes"])
        version = int(head["schema_version"])
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise ArtifactError(
            f"{path}: not a weights file of magsd ({type(error).__name__}); {AGAIN}"
        ) from error
    _check_version(path, version)
    for name, value in weights.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ArtifactError(f"{path}: {name} holds values that are not finite; {AGAIN}")
    return weights, classes


def load_weights(model: torch.nn.Module, path: Path, classes: Sequence[str]) -> None:
    """Fill `model` from a weights file. Raises `ArtifactError` where names, shapes or classes differ."""
    weights, known = read_weights(path)
    if known != tuple(classes):
        raise ArtifactError(
            f"{path}: is for the classes {list(known)}, not {list(classes)}; use the run that it belongs to"
        )
    expected = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if expected != found:
        name = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))[0]
        raise ArtifactError(
            f"{path}: does not fit the recipe's network: {name} is {_shape(found.get(name))}, "
            f"should be {_shape(expected.get(name))}; use the run that it belongs to"
        )
    model.load_state_dict(weights)


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else str(list(shape))


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a resumable training state, atomically and hashed: tensors, numbers, text, lists, dicts."""
    buffer = io.BytesIO()  # on a full disk torch itself would fail with an error that names no reason
    torch.save({"schema_version": SCHEMA_VERSION, **state}, buffer)
    with hashed_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_state(path: Path) -> dict[str, Any] | None:
    """The training state in `path`, on the CPU; None when there is none yet.

    Raises `ArtifactError` when it is damaged, of a later schema, or holds anything but plain values.
    """
    if not path.exists():
        return None
    check_hash(path)
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = int(state["schema_version"])
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise ArtifactError(
            f"{path}: not a training state of magsd ({type(error).__name__}); {AGAIN}"
        ) from error
    _check_version(path, version)
    return state


def _check_version(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path}: schema {version}, this magsd reads up to {SCHEMA_VERSION}; install a newer magsd"
        )
