"""Section 4.1: the training of one network on the images of one fold, resumable at every batch.

Everything random comes from seeds made of (recipe seed, fold, epoch); a state saved in the middle of an epoch
also holds the generators' states. So a training that was killed at any moment and is started again does the
very same operations as one that was not, and ends in the same bits (on the CPU, with the same threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from magsd_cli.console import Bar, on_terminal, say
from magsd_cli.errors import DivergedError, Interrupted
from magsd_cli.stages.learner import (
    Learner,
    Position,
    Task,
    learn,
    new_learner,
    restore,
    seed_generators,
    take_state,
)
from magsd_cli.stages.ranks import add_up, agreed, share
from magsd_cli.stages.schedule import epoch_batches, learning_rate
from magsd_cli.stages.signals import Asked

CHECK_EVERY = 20  # batches between two looks at a GPU's sums: each look waits for the device


Placed = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Save = Callable[[dict[str, Any], nn.Module], None]


def fit(task: Task, state: dict[str, Any] | None, save: Save, asked: Asked) -> nn.Module:
    """Train one network from the start, or on from `state`; return it with its final weights.

    `save` is called with the resumable state and the network after each epoch, and before leaving when
    `asked` gives a signal. Raises `Interrupted` then, and `DivergedError` when the loss or a weight is no
    longer finite; what was saved last is good in both cases.
    """
    epochs = task.recipe.train.epochs
    asked = agreed(asked, task.ranks)
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        learner = new_learner(task)
        position = Position() if state is None else restore(learner, state)
        placed = _placed(task)
        left = (epochs - position.epoch) * len(_batches(task, 0)) - position.batch
        with nullcontext() if task.bar is None else task.bar(task.title, left) as bar:
            while position.epoch < epochs:
                seed_generators(task, learner, position, state)
                state = None
                position = _run_epoch(task, learner, placed, position, bar, asked)
                _check_weights(task, learner, position)
                save(take_state(task, learner, position), learner.result)
                _say_epoch(task, position)
                _leave_if_asked(task, position, asked)
        return learner.result


def _placed(task: Task) -> Placed:
    """Images, the rows of them to train on, and labels: on the GPU if they fit, else where they are."""
    labels, images = torch.from_numpy(task.labels), torch.from_numpy(task.images)
    rows = torch.arange(len(labels)) if task.rows is None else torch.from_numpy(task.rows)
    if task.device.type != "cuda" or len(rows) * images[0].nbytes > _room(task.device):
        return images, rows, labels
    home = task.device
    return images[rows].to(home), torch.arange(len(rows), device=home), labels.to(home)


def _room(device: torch.device) -> int:
    """How many bytes of images may stay on a GPU: a quarter of what is free; the network needs the rest."""
    free, _ = torch.cuda.mem_get_info(device)
    return free // 4


def _batches(task: Task, epoch: int) -> list[npt.NDArray[np.int64]]:
    settings, seed = task.recipe.train, task.recipe.seed
    return epoch_batches(task.labels, settings, seed, task.fold, epoch, task.ranks.world)


def _run_epoch(
    task: Task,
    learner: Learner,
    placed: Placed,
    start: Position,
    bar: Bar | None,
    asked: Asked,
) -> Position:
    """Train from `start` to the end of its epoch, or to the batch after which we are asked to stop."""
    batches = _batches(task, start.epoch)
    sums = torch.tensor(start.sums, dtype=torch.float64, device=task.device)
    look_every = 1 if task.device.type == "cpu" else CHECK_EVERY
    begun = time.perf_counter() - start.seconds
    learner.model.train()
    done = start.batch
    while done < len(batches):
        step = start.epoch * len(batches) + done
        sums += _learn_batch(task, learner, placed, batches[done], step, len(batches))
        done += 1
        if done % look_every == 0 or done == len(batches):
            _check_sums(task, sums, start.epoch)
            if bar is not None:
                bar.update(0, _words(sums.tolist(), time.perf_counter() - begun))
        if bar is not None:
            bar.update()
        # With others to agree with, asking costs a message: on a GPU it is done as seldom as looking.
        if (task.ranks.world == 1 or done % look_every == 0) and asked() is not None:
            _check_sums(task, sums, start.epoch)
            break
    seconds = time.perf_counter() - begun
    if done < len(batches):
        return replace(start, batch=done, sums=tuple(sums.tolist()), seconds=seconds)
    rate = learning_rate(task.recipe.train, (start.epoch + 1) * len(batches) - 1, len(batches))
    row = _history_row(start.epoch, sums.tolist(), rate, seconds)
    return Position(epoch=start.epoch + 1, history=(*start.history, row))


def _learn_batch(
    task: Task,
    learner: Learner,
    placed: Placed,
    batch: npt.NDArray[np.int64],
    step: int,
    steps_per_epoch: int,
) -> torch.Tensor:
    """One optimiser step on this process's share of a batch; what all processes add to the sums, [5]."""
    mine, (images, rows, labels) = share(batch, task.ranks), placed
    chosen = _on_the_way(torch.from_numpy(mine), task.device).to(images.device, non_blocking=True)
    pixels, targets = (_on_the_way(values, task.device) for values in (images[rows[chosen]], labels[chosen]))
    weight = len(mine) * task.ranks.world / len(batch)
    return add_up(learn(task, learner, pixels, targets, step, steps_per_epoch, weight), task.ranks)


def _on_the_way(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` in memory from which a copy to a GPU does not hold up the host."""
    return values.pin_memory() if device.type == "cuda" and values.device.type == "cpu" else values


def _check_sums(task: Task, sums: torch.Tensor, epoch: int) -> None:
    """Raise `DivergedError` when a loss since the start of the epoch was not finite."""
    if not bool(sums.isfinite().all()):
        raise _diverged(task, epoch, "the loss")


def _check_weights(task: Task, learner: Learner, position: Position) -> None:
    """Raise `DivergedError` when a weight is not finite: the last step of an epoch has no loss after it."""
    for model in (learner.model, learner.average):
        values = [] if model is None else [v for v in model.state_dict().values() if v.is_floating_point()]
        if values and not bool(torch.stack([value.isfinite().all() for value in values]).all()):
            raise _diverged(task, max(0, position.epoch - 1), "a weight")


def _diverged(task: Task, epoch: int, what: str) -> DivergedError:
    kept = f"the state after epoch {epoch} is kept" if epoch else "there is no finished epoch to keep"
    rate = task.recipe.train.lr / 10
    return DivergedError(
        f"fold {task.fold}: {what} is no longer finite in epoch {epoch + 1}; {kept}; "
        f"try a smaller learning rate, such as --set train.lr={rate:g}"
    )


def _leave_if_asked(task: Task, position: Position, asked: Asked) -> None:
    number = asked()
    if number is not None:
        where = f"epoch {min(position.epoch + 1, task.recipe.train.epochs)} of {task.recipe.train.epochs}"
        raise Interrupted(
            number, f"fold {task.fold}: stopped in {where}, saved; run the same command again to continue"
        )


def _history_row(epoch: int, sums: list[float], rate: float, seconds: float) -> dict[str, float]:
    loss, cross_entropy, distance, correct, count = sums
    return {
        "epoch": epoch + 1,
        "loss": loss / count,
        "cross_entropy": cross_entropy / count,
        "distance": distance / count,
        "train_share_correct": correct / count,
        "lr": rate,
        "images_per_second": count / seconds,
        "seconds": seconds,
    }


def _words(sums: list[float], seconds: float) -> str:
    """For the bar: the loss and its two parts (eq. 7), short enough for 80 columns."""
    row = _history_row(0, sums, 0.0, seconds)
    parts = f"loss {row['loss']:.2f} = CE {row['cross_entropy']:.2f} + d' {row['distance']:.2f}"
    return f"{parts}, {row['images_per_second']:.1f} images/s"


def _say_epoch(task: Task, position: Position) -> None:
    """One line an epoch where nobody watches a bar."""
    if position.batch or task.ranks.rank or (task.bar is not None and on_terminal()):
        return
    row, epochs = position.history[-1], task.recipe.train.epochs
    minutes = (epochs - position.epoch) * row["seconds"] / 60
    say(
        f"{task.title}, epoch {position.epoch} of {epochs}: loss {row['loss']:.3f} (cross-entropy "
        f"{row['cross_entropy']:.3f}, distance {row['distance']:.3f}), {row['train_share_correct']:.1%} of "
        f"the training images right, {row['images_per_second']:.1f} images/s, {minutes:.1f} min left",
        fold=task.fold,
        **row,
    )
