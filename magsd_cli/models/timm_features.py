"""Backbones through timm's multi-scale interface (extra `magsd[timm]`): `model.backbone = "timm:NAME"`."""

from __future__ import annotations

import difflib
import importlib.util
import socket
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.models.weights import TIMEOUT_S, State, Trunk

PREFIX = "timm:"


HUB = "huggingface.co"


class TimmFeatures(nn.Module):
    """The last three scales of timm's network `name`; `channels` are their widths.

    Raises `UsageError` where timm is not installed, does not know the name, or knows no three scales of it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = _create(name, pretrained=False)
        self.channels = tuple(int(width) for width in self.network.feature_info.channels())
        self.channels_last = str(getattr(self.network, "output_fmt", None)).endswith("NHWC")

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 1, H, W], sides of 64 and more -> [f1, f2, f3], mostly at 1/8, 1/16 and 1/32 of the side.

        Windowed transformers take whole patches: their images are widened by repeating the last pixels.
        """
        if not self.channels_last:
            return list(self.network(images))
        rows, columns = -images.shape[2] % 32, -images.shape[3] % 32
        padded = F.pad(images, (0, columns, 0, rows), mode="replicate")
        return [scale.permute(0, 3, 1, 2) for scale in self.network(padded)]


def timm_trunk(features: TimmFeatures, backbone: str) -> Trunk:
    """The whole extractor, as a place for timm's weights."""
    stem = next(key for key, value in features.network.state_dict().items() if value.ndim == 4)
    return Trunk(features.network, backbone, stem, ("head.", "classifier."), timm_state)


def timm_state(backbone: str) -> State:
    """timm's published weights of `timm:NAME`, from its cache or downloaded.

    Raises `ArtifactError` that says how to bring them where they cannot be had.
    """
    from huggingface_hub import constants

    name = backbone.removeprefix(PREFIX)
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(HUB)  # or it would try again for a minute
    try:
        state: State = _create(name, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise ArtifactError(
            f"model.weights=imagenet: timm's weights of {name} are not here and cannot be fetched; where "
            f"they can, save the state_dict() of timm.create_model({name!r}, pretrained=True, "
            "features_only=True, out_indices=(-3, -2, -1)), bring it and give its path as model.weights, "
            "or set it to none"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before
    return state


def _create(name: str, pretrained: bool) -> Any:
    """timm's extractor; three input channels where its weights are wanted, one otherwise."""
    if importlib.util.find_spec("timm") is None:
        raise UsageError(f"model.backbone={PREFIX}{name}: needs timm; pip install 'magsd[timm]'")
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3) or ["convnext_tiny"]
        raise UsageError(f"model.backbone={PREFIX}{name}: no such backbone; choose {', '.join(near)}")
    sizes: dict[str, Any] = {"strict_img_size": False} if "swin" in name else {}
    try:
        return timm.create_model(
            name,
            pretrained=pretrained,
            features_only=True,
            out_indices=(-3, -2, -1),
            in_chans=3 if pretrained else 1,
            **sizes,
        )
    except (AssertionError, TypeError, AttributeError) as error:
        raise UsageError(
            f"model.backbone={PREFIX}{name}: has no features at three scales; choose another one"
        ) from error


def _reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=TIMEOUT_S).close()
    except OSError:
        return False
    return True
