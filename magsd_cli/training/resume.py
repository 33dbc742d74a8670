"""After a stop or a kill: what is saved of a training, and how it is put back to the same bits."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from magsd_cli.artifacts.runs import (
    Run,
    state_path,
)
from magsd_cli.errors import ArtifactError
from magsd_cli.runtime.device import (
    AUGMENTATION,
    NETWORK,
    generator_seed,
)
from magsd_cli.training.ddp import gather
from magsd_cli.training.state import Learner, Position, Task


def check_identity(run: Run, task: Task, found: dict[str, str | int]) -> None:
    """Raise `ArtifactError` when a saved state is of another training, or of another number of processes."""
    expected, state = identity(task), state_path(run.path, task.fold)
    before, now = (values.get("processes", 1) for values in (found, expected))
    if before != now:
        raise ArtifactError(
            f"{state}: was trained by {before} processes together, not {now}; go on with as many --gpus "
            "(cv: --parallel ddp), or choose another --name"
        )
    if found != expected:
        raise ArtifactError(f"{state}: belongs to another training; choose another --name")


def seed_generators(task: Task, learner: Learner, position: Position, state: dict[str, Any] | None) -> None:
    """Set every generator at the start of an epoch; in the middle of one, as `state` left them.

    torch's global generator is among them: dropout layers draw from it.
    """
    rank = task.ranks.rank
    if position.batch == 0:
        seed, fold, epoch = task.recipe.seed, task.fold, position.epoch
        learner.generator.manual_seed(generator_seed(seed, fold, epoch, AUGMENTATION, rank))
        torch.manual_seed(generator_seed(seed, fold, epoch, NETWORK, rank))
    elif state is not None:
        generators = [state["generators"], *state.get("generators_of_others", [])][rank]
        learner.generator.set_state(generators["augmentation"])
        torch.set_rng_state(generators["network"])
        if task.device.type == "cuda" and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], task.device)


def take_state(task: Task, learner: Learner, position: Position) -> dict[str, Any]:
    """Everything that `fit` needs to go on from `position`, as plain values and tensors."""
    generators = {"augmentation": learner.generator.get_state(), "network": torch.get_rng_state()}
    if task.device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(task.device)
    own, *others = gather(generators, task.ranks)
    later = {"generators_of_others": others} if others else {}
    if learner.scaler.is_enabled():
        later["scaler"] = learner.scaler.state_dict()  # type: ignore[assignment]
    return {
        "identity": identity(task),
        "epoch": position.epoch,
        "batch": position.batch,
        "sums": list(position.sums),
        "seconds": position.seconds,
        "history": [dict(row) for row in position.history],
        "model": learner.model.state_dict(),
        "average": None if learner.average is None else learner.average.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "generators": own,
        **later,
    }


def identity(task: Task) -> dict[str, str | int]:
    """What a saved state must agree with before a training goes on from it."""
    digest = hashlib.sha256(task.labels.tobytes() + task.recipe.hash().encode())
    known: dict[str, str | int] = {
        "fold": task.fold,
        "classes": task.classes,
        "recipe_and_labels": digest.hexdigest(),
    }
    return known | ({"processes": task.ranks.world} if task.ranks.world > 1 else {})


def restore(learner: Learner, state: dict[str, Any]) -> Position:
    """Put `learner` where `state` was taken, and say where that is."""
    learner.model.load_state_dict(state["model"])
    if learner.average is not None:
        learner.average.load_state_dict(state["average"])
    learner.optimiser.load_state_dict(state["optimiser"])
    if learner.scaler.is_enabled():
        learner.scaler.load_state_dict(state["scaler"])
    history = tuple(dict(row) for row in state["history"])
    return Position(state["epoch"], state["batch"], tuple(state["sums"]), state["seconds"], history)
