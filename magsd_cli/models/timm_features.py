"""Backbones through timm's multi-scale interface: `model.backbone = "timm:NAME"`."""

from __future__ import annotations

import difflib
import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.hashing import sha256_file
from magsd_cli.models.efficientnet_lite import packaged_origin, packaged_state
from magsd_cli.models.origin import Origin, announce_fetch
from magsd_cli.models.weights import TIMEOUT_S, WAYS_OUT, State, Trunk

PREFIX = "timm:"
HUB = "huggingface.co"
HEADS = ("head.", "classifier.", "conv_head.", "bn2.")  # what stands behind the last features

#: timm's modules whose networks can leave out halvings (tests/models/test_timm.py tries one of each).
DILATED = (
    "byoanet", "byobnet", "convnext", "cspnet", "cspnext", "efficientnet", "hardcorenas", "inception_next",
    "mobilenetv3", "mobilevit", "nfnet", "regnet", "res2net", "resnest", "resnet", "resnetv2", "rexnet",
    "sknet", "xception_aligned",
)  # fmt: skip


class TimmFeatures(nn.Module):
    """The last three scales of timm's network `name`; `channels` are their widths.

    `output_stride` (32, 16 or 8) is how many image pixels lie under one of the last features. Raises
    `UsageError` where timm does not know the name, knows no three scales of it, or cannot change its stride.
    """

    def __init__(self, name: str, output_stride: int = 32) -> None:
        super().__init__()
        self.network = _create(name, pretrained=False, output_stride=output_stride)
        self.channels = tuple(int(width) for width in self.network.feature_info.channels())
        self.channels_last = str(getattr(self.network, "output_fmt", None)).endswith("NHWC")

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 1, H, W], sides of 64 and more -> [f1, f2, f3], mostly at 1/8, 1/16 and 1/32 of the side.

        With an `output_stride` none is beyond 1 / `output_stride`. Windowed transformers take whole patches:
        their images are widened by repeating the last pixels.
        """
        if not self.channels_last:
            return list(self.network(images))
        rows, columns = -images.shape[2] % 32, -images.shape[3] % 32
        padded = F.pad(images, (0, columns, 0, rows), mode="replicate")
        return [scale.permute(0, 3, 1, 2) for scale in self.network(padded)]


def timm_trunk(features: TimmFeatures, backbone: str) -> Trunk:
    """The whole extractor, as a place for published weights."""
    own = features.network.state_dict()
    stem = next(key for key, value in own.items() if value.ndim == 4)
    heads = tuple(head for head in HEADS if not any(key.startswith(head) for key in own))
    return Trunk(features.network, backbone, stem, heads, timm_state, timm_origin)


def timm_state(backbone: str) -> State:
    """The published ImageNet weights of `timm:NAME`: from an installed package, timm's cache, or fetched.

    Raises `ArtifactError` that says how to bring them where they cannot be had.
    """
    name = backbone.removeprefix(PREFIX)
    packaged = packaged_state(name)
    if packaged is not None:
        return packaged
    with _hub_offline():
        found = _pretrained(name)
    if isinstance(found, dict):
        return found
    settings, remedy = _settings(name), _remedy(name)
    announce_fetch(
        f"timm's weights of {name}",
        f"{HUB}/{settings.hf_hub_id}",
        f"about {_megabytes(name):.0f} MB",
        f"licence: {settings.license or 'none stated'}",
        remedy,
    )
    if not _reachable(HUB):  # or it would try again for a minute
        raise ArtifactError(
            f"timm's weights of {name} are not here and cannot be fetched; {remedy}"
        ) from found
    found = _pretrained(name)
    if not isinstance(found, dict):
        raise ArtifactError(
            f"timm's weights of {name} are not here and cannot be fetched; {remedy}"
        ) from found
    return found


def timm_origin(backbone: str) -> Origin:
    """Return the origin of the weights of `timm_state`; the SHA-256 is None where they are not here."""
    from huggingface_hub import try_to_load_from_cache

    name = backbone.removeprefix(PREFIX)
    packaged = packaged_origin(name)
    if packaged is not None:
        return packaged
    settings = _settings(name)
    licence = settings.license or "none stated"
    for file in ("model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(settings.hf_hub_id, file) if settings.hf_hub_id else None
        if isinstance(path, str):
            return Origin(f"{HUB}/{settings.hf_hub_id}", file, sha256_file(Path(path)), licence)
    return Origin(f"{HUB}/{settings.hf_hub_id}", "model.safetensors", None, licence)


def _settings(name: str) -> Any:
    """Return what timm knows of its published weights: hf_hub_id, license."""
    import timm

    return timm.get_pretrained_cfg(name)


def _pretrained(name: str) -> State | Exception:
    """timm's own weights, or the error that it met."""
    try:
        state: State = _create(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        return error
    return state


def _remedy(name: str) -> str:
    return (
        f"where they can, save the state_dict() of timm.create_model({name!r}, pretrained=True, "
        "features_only=True, out_indices=(-3, -2, -1)), bring it and give its path as model.weights; take a "
        f"backbone that needs none ({WAYS_OUT}); or --set model.weights=none"
    )


def _megabytes(name: str) -> float:
    with torch.device("meta"):
        values = _create(name, pretrained=False).state_dict().values()
    return float(sum(4 * value.numel() for value in values) / 1e6)


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Let the client of timm's hub look into its cache alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _create(name: str, pretrained: bool, output_stride: int = 32) -> Any:
    """timm's extractor; three input channels where its weights are wanted, one otherwise."""
    if importlib.util.find_spec("timm") is None:
        raise UsageError(f"model.backbone={PREFIX}{name}: needs timm, which is missing; install magsd again")
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3) or ["convnext_tiny"]
        raise UsageError(f"model.backbone={PREFIX}{name}: no such backbone; choose {', '.join(near)}")
    changes: dict[str, Any] = {"strict_img_size": False} if "swin" in name else {}
    if output_stride != 32:
        _check_dilated(name, output_stride)
        changes["output_stride"] = output_stride
    try:
        return timm.create_model(
            name,
            pretrained=pretrained,
            features_only=True,
            out_indices=(-3, -2, -1),
            in_chans=3 if pretrained else 1,
            **changes,
        )
    except (AssertionError, TypeError, AttributeError) as error:
        if output_stride != 32:
            raise _no_stride(name, output_stride) from error
        raise UsageError(
            f"model.backbone={PREFIX}{name}: has no features at three scales; choose another one"
        ) from error


def _check_dilated(name: str, output_stride: int) -> None:
    import timm

    if timm.model_entrypoint(name).__module__.rsplit(".", 1)[-1] not in DILATED:
        raise _no_stride(name, output_stride)


def _no_stride(name: str, output_stride: int) -> UsageError:
    return UsageError(
        f"model.output_stride={output_stride}: timm:{name} has only 32; leave it out, or take a backbone "
        f"of timm's {', '.join(DILATED)} (timm.list_models(module=...) names them)"
    )


def _reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=TIMEOUT_S).close()
    except OSError:
        return False
    return True
