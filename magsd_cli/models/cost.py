"""What a network costs: its parameters and its multiply-adds."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of trained values; batch-norm statistics are none."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, size: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image of `size` pixels; none is computed."""
    shapes_only = copy.deepcopy(model).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shapes_only(torch.empty(1, 1, size, size, device="meta"))
    return int(counter.get_total_flops()) // 2
