"""One training step: the primary view and its attention-guided views (Fig. 1), or the primary view alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from magsd_cli.errors import UsageError
from magsd_cli.method.guided import AUGMENTATIONS, choose_maps
from magsd_cli.method.soft_distance import LOSSES, soft_label
from magsd_cli.recipe import Recipe

#: Back-propagates a loss; training's own also scales it (fp16, unequal shares of a batch).
Backward = Callable[[Tensor], None]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class StepResult(NamedTuple):
    """0-d detached tensors: `loss` = `cross_entropy` + weighted `distance`; `correct` images of the batch."""

    loss: Tensor
    cross_entropy: Tensor
    distance: Tensor
    correct: Tensor


def plain_step(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    _generator: Generator,
    backward: Backward = torch.autograd.backward,
) -> StepResult:
    """MAG-SD (0AUG): cross-entropy of the primary view alone; its gradient is added to `.grad`."""
    entropy, logits, _ = _primary(model, images, targets, recipe, backward)
    correct = (logits.argmax(1) == targets).sum()
    return StepResult(entropy, entropy, torch.zeros_like(entropy), correct)


def attention_guided_step(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    generator: Generator,
    backward: Backward = torch.autograd.backward,
) -> StepResult:
    """Eq. 7. L = CE(P, y) + d', over up to three views guided by the primary view's own attention.

    With `train.loss` "mean_cross_entropy" L is the mean cross-entropy of the primary view and the others.

    The soft label is detached and no gradient flows through the augmentation, so each view is back-propagated
    as soon as its loss is known: the gradients are those of the joint loss, and one graph is held at a time.
    Processes that train together exchange gradients once, after the last view.
    images [B, 1, H, W] z-scored, targets [B]; gradients are added to `.grad`. A map that is not finite makes
    the loss so. Raises `UsageError` for a network without attention maps.
    """
    names = recipe.train.augment
    if not names:
        return plain_step(model, images, targets, recipe, generator, backward)
    primary, share = _shares(recipe)
    with _unshared(model):
        entropy, logits, attention = _primary(
            model, images, targets, recipe, lambda loss: backward(primary * loss)
        )
    entropy = primary * entropy
    attention = guiding_attention(attention, recipe)
    correct = (logits.argmax(1) == targets).sum()
    soft = soft_label(logits, targets, recipe.soft_distance)
    maps = choose_maps(attention, recipe.guide.map_choice, len(names), generator)
    total = 0 * attention.sum()  # not 0 where a map is not finite: thresholds alone would hide it
    for number, name in enumerate(names):
        view = AUGMENTATIONS[name](images, maps[:, number : number + 1], recipe.guide, generator)
        with nullcontext() if number == len(names) - 1 else _unshared(model):
            with _precision(view, recipe):
                output = model(view)
            distance = share * _view_loss(soft, output.logits, targets, recipe)
            backward(distance)
        total = total + distance.detach()
    return StepResult(entropy + total, entropy, total, correct)


def _shares(recipe: Recipe) -> tuple[float, float]:
    """Return the factors of the primary view's cross-entropy and of each guided view's loss."""
    views, settings = len(recipe.train.augment), recipe.soft_distance
    if recipe.train.loss == "mean_cross_entropy":
        return 1 / (1 + views), 1 / (1 + views)
    return 1.0, settings.weight / (views if settings.over_views == "mean" else 1)


def _view_loss(soft: Tensor, logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    if recipe.train.loss == "mean_cross_entropy":
        return _cross_entropy(logits, targets, recipe)
    return LOSSES[recipe.train.loss](soft, logits, targets)


def _cross_entropy(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    return F.cross_entropy(logits.float(), targets, label_smoothing=recipe.train.label_smoothing)


def guiding_attention(attention: Tensor | None, recipe: Recipe) -> Tensor:
    """The maps that guide the augmentation. Raises `UsageError` for a network that has none."""
    if attention is None:
        raise UsageError(
            f"train.step=attention_guided: {recipe.model.name} has no attention maps; set train.step=plain"
        )
    return attention


def _primary(
    model: nn.Module, images: Tensor, targets: Tensor, recipe: Recipe, backward: Backward
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Forward and backward of the primary view: its cross-entropy, logits and attention, all detached."""
    with _precision(images, recipe):
        output = model(images)
    entropy = _cross_entropy(output.logits, targets, recipe)
    backward(entropy)
    attention = None if output.attention is None else output.attention.detach().float()
    return entropy.detach(), output.logits.detach(), attention


def _precision(images: Tensor, recipe: Recipe) -> AbstractContextManager[object]:
    kind = AUTOCAST.get(recipe.train.precision)
    return torch.autocast(images.device.type, kind, enabled=kind is not None)


def _unshared(model: nn.Module) -> AbstractContextManager[object]:
    """Gradients stay in this process for now: the last view's backward adds up those of all."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


STEPS: dict[str, Callable[[nn.Module, Tensor, Tensor, Recipe, Generator, Backward], StepResult]] = {
    "attention_guided": attention_guided_step,
    "plain": plain_step,
}
