"""A network by its recipe name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from magsd_cli.errors import UsageError
from magsd_cli.hashing import sha256_file
from magsd_cli.models.baselines.bcnn import BCNN, BCNNAttention
from magsd_cli.models.baselines.covidnet import COVIDNet
from magsd_cli.models.baselines.fpn import FPN
from magsd_cli.models.baselines.inception import InceptionV3
from magsd_cli.models.baselines.linear_probe import LinearProbe
from magsd_cli.models.baselines.narin import NarinInceptionV3, NarinResNet50
from magsd_cli.models.baselines.resnet_classifier import resnet18, resnet50
from magsd_cli.models.baselines.unet import UNet
from magsd_cli.models.baselines.vgg import VGG16
from magsd_cli.models.magsd import MANet, changed_trunk
from magsd_cli.models.origin import Origin
from magsd_cli.models.weights import imagenet_origin, load_first_weights
from magsd_cli.recipe import Model


def build_model(settings: Model, classes: int, seed: int) -> nn.Module:
    """Build the network of `settings` for `classes` classes; the same seed gives the same weights.

    The network takes z-scored X-rays [B, 1, H, W] and returns an `Output`. Raises `UsageError` for a backbone
    that does not exist, `ArtifactError` where its first weights cannot be had or do not fit.
    """
    if settings.name != "magsd":
        for key in changed_trunk(settings):
            raise UsageError(
                f"model.{key}: works only with model.name=magsd; leave it out for {settings.name}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[settings.name](settings, classes)
    load_first_weights(model, getattr(model, "trunk", None), settings)
    return model


def first_weights_origin(settings: Model) -> Origin | None:
    """Return the origin of the first weights of `settings`' network; None where they are random.

    Opens no connection: the SHA-256 is None where the file is not on this machine.
    """
    if settings.weights == "none":
        return None
    if settings.weights != "imagenet":
        path = Path(settings.weights)
        digest = sha256_file(path) if path.is_file() else None
        return Origin("file", path.name, digest, "not known to magsd")
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        trunk = getattr(MODELS[settings.name](settings, 2), "trunk", None)
    return None if trunk is None else (trunk.origin or imagenet_origin)(trunk.name)


MODELS: dict[str, Callable[[Model, int], nn.Module]] = {
    "magsd": MANet,
    "vgg16": VGG16,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "inception_v3": InceptionV3,
    "narin_resnet50": NarinResNet50,
    "narin_inception_v3": NarinInceptionV3,
    "covidnet": COVIDNet,
    "bcnn": BCNN,
    "bcnn_attention": BCNNAttention,
    "fpn": FPN,
    "unet": UNet,
    "linear_probe": LinearProbe,
}


def parameters(model: nn.Module) -> int:
    """Number of trained values; batch-norm statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, size: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image of `size` pixels; none is computed."""
    shapes_only = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only(torch.empty(1, 1, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2
