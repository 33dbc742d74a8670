"""The processes that train one network together, each on its share of every batch.

Each is a rank of a torch.distributed process group. Rank 0 alone writes and speaks; whatever decides where
the training goes (losses, requests to stop) is added up over all, so that all take the same turn.
"""

from __future__ import annotations

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
from torch.distributed.rendezvous import rendezvous

from magsd_cli.errors import MagsdError, UsageError
from magsd_cli.recipe import Recipe
from magsd_cli.stages.signals import Asked

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=30)  # rank 0 may predict or write while the others wait for it


@dataclass(frozen=True)
class Ranks:
    """Which of `world` processes this one is, counted from 0."""

    rank: int = 0
    world: int = 1


ALONE = Ranks()


def under_torchrun() -> bool:
    """Whether torchrun started this process as one rank of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def local_device(kind: str) -> torch.device:
    """The device of this rank: its own GPU, or the CPU."""
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if kind == "cuda" else torch.device("cpu")


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
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


def agreed(asked: Asked, ranks: Ranks) -> Asked:
    """`asked`, but all ranks get the same answer: the highest signal that any of them was given."""
    if ranks.world == 1:
        return asked

    def together() -> int | None:
        number = torch.tensor([asked() or 0])
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number) or None

    return together


def by_the_first(work: Callable[[], Value], ranks: Ranks) -> Value:
    """What `work` gives on rank 0, which alone does it; an error there ends all ranks, and rank 0 says it."""
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
