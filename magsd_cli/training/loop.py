"""Section 4.1: the training of one network on the images of one fold, resumable at every batch.

From the top: `train` goes through epochs, an epoch through batches, a batch is one optimiser step. What is
saved, and where, is the caller's.

Everything random comes from seeds made of (recipe seed, fold, epoch); a state saved in the middle of an epoch
also holds the generators' states. So a training that was killed at any moment and is started again does the
very same operations as one that was not, and ends in the same bits (on the CPU, with the same threads).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from magsd_cli.artifacts.runs import network_words
from magsd_cli.console import Bar, in_time, say
from magsd_cli.errors import DivergedError, Interrupted
from magsd_cli.method.classic import training_images
from magsd_cli.method.logistic_regression import fit_logistic_regression
from magsd_cli.method.step import STEPS
from magsd_cli.method.zscore import column_z_score, z_score
from magsd_cli.models.baselines.linear_probe import LinearProbe
from magsd_cli.runtime.device import WEIGHTS, generator_seed
from magsd_cli.runtime.signals import StopRequested
from magsd_cli.training.ddp import add_up, agree_on_stop, share
from magsd_cli.training.resume import SavedState, restore, seed_generators, take_state
from magsd_cli.training.schedule import PlacedImages, epoch_batches, learning_rate, place_images
from magsd_cli.training.state import Progress, Task, TrainingState, history_row, new_state

PROBED = 32  # images whose features are taken at a time
CHECKED = 16  # training images that a network answers after each epoch
CHECK_EVERY = 20  # batches between two looks at a GPU's sums: each look waits for the device
Save = Callable[[SavedState, nn.Module], None]


def train(task: Task, saved: SavedState | None, save: Save, stop_requested: StopRequested) -> nn.Module:
    """Train one network from the start, or on from `saved`; return it with its final weights.

    `save` is called with the resumable state and the network after each epoch, and before leaving when
    `stop_requested` gives a signal. Raises `Interrupted` then, and `DivergedError` when the loss, a weight or
    the network's answer in evaluation is no longer finite; what was saved last is good in both cases.
    """
    epochs = task.recipe.train.epochs
    stop_requested = agree_on_stop(stop_requested, task.ranks)
    with torch.random.fork_rng(devices=[task.device] if task.device.type == "cuda" else []):
        state = new_state(task)
        progress = Progress() if saved is None else restore(state, saved)
        images = place_images(task)
        if not task.recipe.train.takes_steps and progress.epoch < epochs:
            progress = _fit_last_layer(task, state, images)
            save(take_state(task, state, progress), state.result)
            _say_epoch(task, progress)
        left = (epochs - progress.epoch) * len(_batches(task, 0)) - progress.batch
        with nullcontext() if task.bar is None else task.bar(task.title, left) as bar:
            while progress.epoch < epochs:
                seed_generators(task, state, progress, saved)
                saved = None
                progress = _train_epoch(task, state, images, progress, bar, stop_requested)
                _check_weights(task, state, progress)
                if progress.batch == 0:
                    _check_answers(task, state, images, progress)
                save(take_state(task, state, progress), state.result)
                _say_epoch(task, progress)
                _leave_if_requested(task, progress, stop_requested)
        return state.result


def _train_epoch(
    task: Task,
    state: TrainingState,
    images: PlacedImages,
    start: Progress,
    bar: Bar | None,
    stop_requested: StopRequested,
) -> Progress:
    """Train from `start` to the end of its epoch, or to the batch after which a stop is requested."""
    batches = _batches(task, start.epoch)
    sums = torch.tensor(start.sums, dtype=torch.float64, device=task.device)
    look_every = 1 if task.device.type == "cpu" else CHECK_EVERY
    begun = time.perf_counter() - start.seconds
    state.model.train()
    done = start.batch
    for batch in batches[start.batch :]:
        sums += _train_batch(task, state, images, batch, start.epoch * len(batches) + done, len(batches))
        done += 1
        look = done % look_every == 0
        if look or done == len(batches):
            _check_sums(task, sums, start.epoch)
            if bar is not None:
                bar.update(0, _words(sums.tolist(), time.perf_counter() - begun))
        if bar is not None:
            bar.update()
        # With others to agree with, asking costs a message: on a GPU it is done as seldom as looking.
        if (task.ranks.world == 1 or look) and stop_requested() is not None:
            _check_sums(task, sums, start.epoch)
            break
    seconds = time.perf_counter() - begun
    if done < len(batches):
        return replace(start, batch=done, sums=tuple(sums.tolist()), seconds=seconds)
    rate = learning_rate(task.recipe.train, (start.epoch + 1) * len(batches) - 1, len(batches))
    row = history_row(start.epoch, sums.tolist(), rate, seconds)
    return Progress(epoch=start.epoch + 1, history=(*start.history, row))


@torch.inference_mode()
def _fit_last_layer(task: Task, state: TrainingState, images: PlacedImages) -> Progress:
    """Fit the last layer of a linear probe to the training images as they are, all epochs at once."""
    begun = time.perf_counter()
    network, positions = state.model.eval(), np.arange(len(task.labels))
    assert isinstance(network, LinearProbe)  # the recipe sees to it
    parts = np.array_split(positions, max(1, len(positions) // PROBED))
    standard = (z_score(images.take(part, task.device)[0].to(task.device)) for part in parts)
    vectors = torch.cat([network.vectors(batch).double().cpu() for batch in standard])
    seed = generator_seed(task.recipe.seed, task.fold, 0, WEIGHTS)
    groups = task.groups or ("",) * len(positions)
    layer = fit_logistic_regression(vectors.numpy(), task.labels, groups, task.classes, seed)
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    network.classifier.weight.copy_(weight)
    network.classifier.bias.copy_(bias)
    logits, targets = vectors @ weight.T + bias, torch.from_numpy(task.labels)
    loss = float(F.cross_entropy(logits, targets, reduction="sum"))
    sums = [loss, loss, 0.0, float((logits.argmax(1) == targets).sum()), float(len(targets))]
    say(f"{task.title}: C = {layer.penalty:g}, chosen by a cross-validation of the training part")
    row = history_row(task.recipe.train.epochs - 1, sums, 0.0, time.perf_counter() - begun)
    return Progress(epoch=task.recipe.train.epochs, history=(row,))


def _batches(task: Task, epoch: int) -> list[npt.NDArray[np.int64]]:
    settings, seed = task.recipe.train, task.recipe.seed
    return epoch_batches(task.labels, settings, seed, task.fold, epoch, task.ranks.world)


def _train_batch(
    task: Task,
    state: TrainingState,
    images: PlacedImages,
    batch: npt.NDArray[np.int64],
    step: int,
    steps_per_epoch: int,
) -> torch.Tensor:
    """One optimiser step on this process's share of a batch; what all processes add to the sums, [5]."""
    mine = share(batch, task.ranks)
    pixels, targets = images.take(mine, task.device)
    weight = len(mine) * task.ranks.world / len(batch)
    return add_up(train_step(task, state, pixels, targets, step, steps_per_epoch, weight), task.ranks)


def train_step(
    task: Task,
    state: TrainingState,
    pixels: torch.Tensor,
    targets: torch.Tensor,
    step: int,
    steps_per_epoch: int,
    weight: float = 1.0,
) -> torch.Tensor:
    """One optimiser step on a batch: uint8 `pixels` [B,1,S,S]. What it adds to the epoch's sums, [5].

    Where processes share a batch, `weight` corrects for shares of unequal size: their gradients are averaged.
    """
    settings = task.recipe.train
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(settings, step, steps_per_epoch)
    state.optimiser.zero_grad(set_to_none=True)
    targets = targets.to(task.device, non_blocking=True)
    views = training_images(pixels.to(task.device, non_blocking=True), task.recipe, state.generator)
    if settings.channels_last:
        views = views.contiguous(memory_format=torch.channels_last)

    def backward(loss: torch.Tensor) -> None:
        torch.autograd.backward(state.scaler.scale(loss if weight == 1 else weight * loss))

    result = STEPS[settings.step](state.step_model, views, targets, task.recipe, state.generator, backward)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    _average_weights(state, settings.weight_average, step)
    count = len(targets)
    parts = torch.stack([result.loss, result.cross_entropy, result.distance]).double() * count
    return torch.cat([parts, result.correct.double().reshape(1), parts.new_full((1,), count)])


@torch.no_grad()
def _average_weights(state: TrainingState, decay: float, step: int) -> None:
    """Move the averaged weights and batch-norm statistics by 1 - decay towards the network's.

    The decay starts small, min(decay, (1 + step) / (10 + step)), or the random first weights would linger.
    """
    if state.average is None:
        return
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours = state.average.state_dict().values()
    for mean, value in zip(ours, state.model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)


def _check_sums(task: Task, sums: torch.Tensor, epoch: int) -> None:
    """Raise `DivergedError` when a loss since the start of the epoch was not finite."""
    if not bool(sums.isfinite().all()):
        raise _diverged(task, epoch, "the loss")


def _check_weights(task: Task, state: TrainingState, progress: Progress) -> None:
    """Raise `DivergedError` when a weight is not finite: the last step of an epoch has no loss after it."""
    for model in (state.model, state.average):
        values = [] if model is None else [v for v in model.state_dict().values() if v.is_floating_point()]
        if values and not bool(torch.stack([value.isfinite().all() for value in values]).all()):
            raise _diverged(task, max(0, progress.epoch - 1), "a weight")


@torch.inference_mode()
def _check_answers(task: Task, state: TrainingState, images: PlacedImages, progress: Progress) -> None:
    """Raise `DivergedError` when the network to keep answers some training images with no finite numbers.

    Weights may be finite and answers not: batch norm's statistics of tiny maps (1x1) can be of any size.
    """
    network = state.result
    training = network.training
    pixels, _ = images.take(np.arange(min(CHECKED, len(images.labels))), task.device)
    standard = z_score(pixels.to(task.device))
    if task.recipe.image.z_score == "column":
        standard = column_z_score(standard)
    answer = network.eval()(standard).logits
    network.train(training)
    if not bool(answer.isfinite().all()):
        remedy = "larger images or batches, or a smaller learning rate"
        raise _diverged(task, max(0, progress.epoch - 1), "the network's answer in evaluation", remedy)


def _diverged(task: Task, epoch: int, what: str, remedy: str = "a smaller learning rate") -> DivergedError:
    kept = f"the state after epoch {epoch} is kept" if epoch else "there is no finished epoch to keep"
    rate = task.recipe.train.lr / 10
    return DivergedError(
        f"{network_words(task.fold)}: {what} is no longer finite in epoch {epoch + 1}; {kept}; "
        f"try {remedy}, such as --set train.lr={rate:g}"
    )


def _leave_if_requested(task: Task, progress: Progress, stop_requested: StopRequested) -> None:
    number = stop_requested()
    if number is not None:
        where = f"epoch {min(progress.epoch + 1, task.recipe.train.epochs)} of {task.recipe.train.epochs}"
        raise Interrupted(
            number,
            f"{network_words(task.fold)}: stopped in {where}, saved; run the same command again to continue",
        )


def _words(sums: list[float], seconds: float) -> str:
    """Return the text behind the bar: the loss and its two parts (eq. 7), short enough for 80 columns."""
    row = history_row(0, sums, 0.0, seconds)
    parts = f"loss {row['loss']:.2f} = CE {row['cross_entropy']:.2f} + d' {row['distance']:.2f}"
    return f"{parts}, {row['images_per_second']:.1f} images/s"


def _say_epoch(task: Task, progress: Progress) -> None:
    """Say one line for a finished epoch. It stays above the bars."""
    if progress.batch or task.ranks.rank:
        return
    row, epochs = progress.history[-1], task.recipe.train.epochs
    left = (epochs - progress.epoch) * row["seconds"]
    words = f", about {in_time(left)} left" if left else ""
    say(
        f"{task.title}, epoch {progress.epoch} of {epochs}: loss {row['loss']:.3f} (cross-entropy "
        f"{row['cross_entropy']:.3f}, distance {row['distance']:.3f}), training accuracy "
        f"{row['train_share_correct']:.1%}, {row['images_per_second']:.1f} images/s{words}",
        fold=task.fold,
        epochs=epochs,
        seconds_left=round(left),
        **row,
    )
