"""Two processes on gloo: one attention-guided step of theirs is one step of a single process on all images.

Batch norm normalises by what it sees in a process, so the processes equal the single one where it takes its
kept statistics (eval mode), or those of all processes (train.sync_batch_norm).
"""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe, load_recipe
from magsd_cli.runtime.device import make_repeatable
from magsd_cli.training.ddp import ALONE, Ranks, add_up, freeze_idle, process_group, share
from magsd_cli.training.loop import train_step
from magsd_cli.training.state import Task, new_state

CPU = torch.device("cpu")
BATCH = 7  # shares of 4 and 3 images
# Nothing is drawn at random, and no pixel of a view hangs on whether a map is just above a threshold: views
# are the same, whoever computes them with whatever rounding, and each is far from the truth.
KEYS = (
    "model.backbone=resnet18", "model.weights=none", "model.attention_maps=1", "image.size=64",
    "classic.enabled=false", "guide.box_padding=1.0", "guide.dimming_factor=1.0",
    "soft_distance.confidence=1.0", 'train.augment=["mixup", "dimming"]', "train.lr=0.1",
)  # fmt: skip


def recipe(*keys: str) -> Recipe:
    return load_recipe("base", [*KEYS, *keys])


def one_step(settings: Recipe, ranks: Ranks, training: bool) -> dict[str, torch.Tensor]:
    """Gradients, weights after the step, and the sums that it adds."""
    make_repeatable(CPU, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 1, 64, 64), np.uint8)
    labels = np.arange(BATCH) % 3
    state = new_state(Task(pixels, labels, 3, settings, 0, CPU, ranks=ranks))
    task = Task(pixels, labels, 3, settings, 0, CPU, ranks=ranks)
    state.model.train(training)
    mine = torch.from_numpy(share(np.arange(BATCH), ranks))
    weight = len(mine) * ranks.world / BATCH
    sums = train_step(
        task, state, torch.from_numpy(pixels)[mine], torch.from_numpy(labels)[mine], 0, 1, weight
    )
    found = {f"grad {name}": p.grad for name, p in state.model.named_parameters() if p.grad is not None}
    return found | state.model.state_dict() | {"sums": add_up(sums, ranks)}


def work(rank: int, settings: Recipe, training: bool, port: int, out: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with process_group(CPU) as ranks:
        torch.save(one_step(settings, ranks, training), out / f"{rank}.pt")


def both(settings: Recipe, training: bool, out: Path) -> list[dict[str, torch.Tensor]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(work, (settings, training, port, out), nprocs=2)
    return [torch.load(out / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize(
    ("keys", "training"),
    [
        ((), False),
        (("train.sync_batch_norm=true",), True),
        (("train.sync_batch_norm=true", "model.pooling=gap"), True),
    ],
    ids=["frozen statistics", "joint statistics", "idle attention"],
)
def test_two_processes_take_the_step_of_one(keys, training, tmp_path):
    first, second = both(recipe(*keys), training, tmp_path)
    alone = one_step(recipe(*keys), ALONE, training)
    assert first.keys() == second.keys() == alone.keys()
    for name, expected in alone.items():
        # float32 through 20 layers: rounding moves a unit over the kink of a ReLU, and with it single entries
        # of a gradient, by other amounts on other processors; the whole of it stays within one percent.
        moved = float((first[name] - expected).double().norm())
        assert moved <= 0.01 * float(expected.double().norm()) + 1e-6, name
        if training:  # without, the kept statistics are each process's own
            assert torch.equal(first[name], second[name]), name


def test_idle_parameters_are_frozen_and_no_others():
    model = build_model(recipe("model.pooling=gap").model, 3, 0)
    freeze_idle(model, 64)
    idle = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert idle == {name for name, _ in model.named_parameters() if name.startswith("branches.")}
    full = build_model(recipe().model, 3, 0)
    freeze_idle(full, 64)
    assert all(parameter.requires_grad for parameter in full.parameters())
