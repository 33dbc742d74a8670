"""A network by its recipe name."""

from __future__ import annotations

import torch
from torch import nn

from magsd_cli.models.magsd import MANet
from magsd_cli.recipe import Model


def build_model(settings: Model, classes: int, seed: int) -> nn.Module:
    """Build the network of `settings` for `classes` classes; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[settings.name](settings, classes)


MODELS = {"magsd": MANet}
