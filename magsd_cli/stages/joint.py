"""One network in several processes (DistributedDataParallel): what must be done to it before it is shared."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from magsd_cli.recipe import Recipe


def prepare_to_join(model: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """`model` with idle parameters frozen and, if the recipe asks for it, batch norm over all processes."""
    freeze_idle(model, recipe.image.size)
    if not recipe.train.sync_batch_norm:
        return model
    if device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return shared
    return _with_joint_norms(model)


def join_network(model: nn.Module, device: torch.device) -> nn.Module:
    """`model` such that its backward passes average the gradients of all processes.

    The kept batch-norm statistics are rank 0's, sent round once a step (all ranks' with
    `train.sync_batch_norm`); training itself does not use them.
    """
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids)


def freeze_idle(model: nn.Module, size: int) -> None:
    """Freeze the parameters that the loss does not reach: the others would wait for their gradients for ever.

    They never change alone either: the optimiser passes over what has no gradient.
    """
    probe = copy.deepcopy(model).eval()
    device = next(probe.parameters()).device
    probe(torch.zeros(2, 1, size, size, device=device)).logits.sum().backward()
    reached = {name for name, parameter in probe.named_parameters() if parameter.grad is not None}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in reached)


def _with_joint_norms(model: nn.Module) -> nn.Module:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = JointBatchNorm(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            for key, parameter in child.named_parameters():  # what is frozen stays so: see `freeze_idle`
                norm.get_parameter(key).requires_grad_(parameter.requires_grad)
            model.add_module(name, norm)
        else:
            _with_joint_norms(child)
    return model


class JointBatchNorm(nn.BatchNorm2d):
    """Batch norm with mean and variance over the images of all processes, where torch's own wants a GPU."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, h, w] -> the same; in training mode every process of the group must call it."""
        if not self.training:
            return super().forward(images)
        exact = images.double()  # the variance is the difference of two large numbers
        count = exact.new_tensor([images.numel() / images.shape[1]])
        sums = torch.cat([exact.sum((0, 2, 3)), exact.square().sum((0, 2, 3)), count])
        total: Tensor = _Sum.apply(sums)
        number = total[-1].detach()
        mean, square = (total[:-1] / number).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        self._remember(mean.detach().float(), (variance * number / (number - 1)).detach().float())
        mean, variance = mean.float(), variance.float()
        normal = (images - mean.view(1, -1, 1, 1)) / (variance + self.eps).sqrt().view(1, -1, 1, 1)
        scaled: Tensor = normal * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return scaled

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        for kept, new in ((self.running_mean, mean), (self.running_var, variance)):
            if kept is not None and self.momentum is not None:
                kept.lerp_(new, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _Sum(torch.autograd.Function):
    """The sum over all processes; each one's gradient is the sum of all, for each used the same total."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
