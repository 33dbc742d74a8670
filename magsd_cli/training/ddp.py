"""The processes that train one network together, each on its share of every batch.

Each is a rank of a torch.distributed process group. Rank 0 alone writes and speaks; whatever decides where
the training goes (losses, requests to stop) is added up over all, so that all take the same turn.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from magsd_cli.errors import MagsdError, UsageError
from magsd_cli.recipe import Recipe
from magsd_cli.runtime.signals import StopRequested

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=30)  # rank 0 may predict or write while the others wait for it


@dataclass(frozen=True)
class Ranks:
    """The number of this process among `world`, counted from 0."""

    rank: int = 0
    world: int = 1


ALONE = Ranks()


def under_torchrun() -> bool:
    """Return whether torchrun started this process as one rank of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_device(kind: str) -> torch.device:
    """The device of this rank: its own GPU, or the CPU."""
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device("cpu")


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the process group that the launcher's environment describes; leave it at the end."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # The launcher's store outlives a restart: without a prefix of its own, a process could find the address
    # of one that is dead, and all would wait for each other until `PATIENCE` ends.
    store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    fresh = dist.PrefixStore(f"restart {restart}", store)  # type: ignore[attr-defined]
    # Numbers that the host needs go over gloo, so that asking for them does not wait for the GPU.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def check_shares(recipe: Recipe, images: int, world: int) -> None:
    """Raise `UsageError` when a batch leaves a process fewer than two images: batch norm needs them."""
    batch = recipe.train.batch_size
    if world > 1 and min(batch, images) < 2 * world:
        raise UsageError(
            f"train.batch_size={batch}: is shared by {world} processes, which need two images each; "
            f"use fewer --gpus or --set train.batch_size={2 * world}"
        )


def share(batch: npt.NDArray[np.int64], ranks: Ranks) -> npt.NDArray[np.int64]:
    """This rank's part of a batch: [B] -> [B / world], sizes differing by one at most."""
    return np.array_split(batch, ranks.world)[ranks.rank]


def add_up(values: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """The sum of `values` over all ranks, in place; a GPU's are added without waiting for it."""
    if ranks.world > 1:
        dist.all_reduce(values)
    return values


def gather(value: Value, ranks: Ranks) -> list[Value]:
    """The `value` of every rank, in their order. Plain values and CPU tensors."""
    if ranks.world == 1:
        return [value]
    found: list[Any] = [None] * ranks.world
    dist.all_gather_object(found, value)
    return found


def agree_on_stop(stop_requested: StopRequested, ranks: Ranks) -> StopRequested:
    """`stop_requested`, but all ranks get the same answer: the highest signal that any of them was given."""
    if ranks.world == 1:
        return stop_requested

    def together() -> int | None:
        number = torch.tensor([stop_requested() or 0])
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number) or None

    return together


def on_rank_zero(work: Callable[[], Value], ranks: Ranks) -> Value:
    """Do `work` on rank 0 alone and return its result on all; an error there ends all ranks, and rank 0 says
    it.
    """
    answer: tuple[Value | None, MagsdError | None] = (None, None)
    if ranks.rank == 0:
        try:
            answer = (work(), None)
        except MagsdError as error:
            answer = (None, error)
    value, failed = gather(answer, ranks)[0]
    if failed is not None and ranks.rank == 0:
        raise failed
    if failed is not None:
        raise SystemExit(failed.exit_code)  # rank 0 says it for all
    return value  # type: ignore[return-value]  # rank 0's own, where None means None


def prepare_for_ddp(model: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """`model` with idle parameters frozen and, if the recipe asks for it, batch norm over all processes."""
    freeze_idle(model, recipe.image.size)
    if not recipe.train.sync_batch_norm:
        return model
    if device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return shared
    return _with_synced_norms(model)


def wrap_ddp(model: nn.Module, device: torch.device) -> nn.Module:
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


def _with_synced_norms(model: nn.Module) -> nn.Module:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = SyncedBatchNorm(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            for key, parameter in child.named_parameters():  # what is frozen stays so: see `freeze_idle`
                norm.get_parameter(key).requires_grad_(parameter.requires_grad)
            model.add_module(name, norm)
        else:
            _with_synced_norms(child)
    return model


class SyncedBatchNorm(nn.BatchNorm2d):
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
