"""After a stop or a kill: what is saved of a training, and how it is put back to the same bits."""

from __future__ import annotations

import hashlib
from typing import Any, NotRequired, TypedDict

import torch

from magsd_cli.errors import ArtifactError
from magsd_cli.runtime.device import AUGMENTATION, NETWORK, generator_seed
from magsd_cli.training.ddp import gather
from magsd_cli.training.state import Progress, Task, TrainingState

Identity = dict[str, str | int]
Values = dict[str, Any]  # what torch's `state_dict` gives


class SavedState(TypedDict):
    """The content of ``state.pt``: the fields of `Progress`, and the state of every object beside it."""

    identity: Identity
    epoch: int
    batch: int
    sums: list[float]
    seconds: float
    history: list[dict[str, float]]
    model: Values
    average: Values | None
    optimiser: Values
    generators: dict[str, torch.Tensor]
    generators_of_others: NotRequired[list[dict[str, torch.Tensor]]]
    scaler: NotRequired[Values]


def check_identity(task: Task, saved: SavedState, name: str) -> None:
    """Raise `ArtifactError` when a state is of another training, or of another number of processes.

    `name` is what the message calls it.
    """
    expected, found = identity(task), saved["identity"]
    before, now = (values.get("processes", 1) for values in (found, expected))
    if before != now:
        raise ArtifactError(
            f"{name}: was trained by {before} processes together, not {now}; go on with as many --gpus "
            "(cv: --parallel ddp), or choose another --name"
        )
    if found != expected:
        raise ArtifactError(f"{name}: belongs to another training; choose another --name")


def seed_generators(task: Task, state: TrainingState, progress: Progress, saved: SavedState | None) -> None:
    """Set every generator at the start of an epoch; in the middle of one, as `saved` left them.

    torch's global generator is among them: dropout layers draw from it.
    """
    rank = task.ranks.rank
    if progress.batch == 0:
        seed, fold, epoch = task.recipe.seed, task.fold, progress.epoch
        state.generator.manual_seed(generator_seed(seed, fold, epoch, AUGMENTATION, rank))
        torch.manual_seed(generator_seed(seed, fold, epoch, NETWORK, rank))
    elif saved is not None:
        generators = [saved["generators"], *saved.get("generators_of_others", [])][rank]
        state.generator.set_state(generators["augmentation"])
        torch.set_rng_state(generators["network"])
        if task.device.type == "cuda" and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], task.device)


def take_state(task: Task, state: TrainingState, progress: Progress) -> SavedState:
    """Everything that `train` needs to go on from `progress`, as plain values and tensors."""
    generators = {"augmentation": state.generator.get_state(), "network": torch.get_rng_state()}
    if task.device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(task.device)
    own, *others = gather(generators, task.ranks)
    saved: SavedState = {
        "identity": identity(task),
        "epoch": progress.epoch,
        "batch": progress.batch,
        "sums": list(progress.sums),
        "seconds": progress.seconds,
        "history": [dict(row) for row in progress.history],
        "model": state.model.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "generators": own,
    }
    if others:
        saved["generators_of_others"] = others
    if state.scaler.is_enabled():
        saved["scaler"] = state.scaler.state_dict()
    return saved


def identity(task: Task) -> Identity:
    """Return what a saved state must agree with before a training goes on from it."""
    digest = hashlib.sha256(task.labels.tobytes() + task.recipe.hash().encode())
    known: Identity = {
        "fold": task.fold,
        "classes": task.classes,
        "recipe_and_labels": digest.hexdigest(),
    }
    return known | ({"processes": task.ranks.world} if task.ranks.world > 1 else {})


def restore(state: TrainingState, saved: SavedState) -> Progress:
    """Put `state` where `saved` was taken, and say where that is."""
    state.model.load_state_dict(saved["model"])
    if state.average is not None and saved["average"] is not None:  # both or neither: the recipe is the same
        state.average.load_state_dict(saved["average"])
    state.optimiser.load_state_dict(saved["optimiser"])
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(saved["scaler"])
    history = tuple(dict(row) for row in saved["history"])
    return Progress(saved["epoch"], saved["batch"], tuple(saved["sums"]), saved["seconds"], history)
