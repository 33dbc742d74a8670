"""The training step: eq. 7 by hand, the joint backward's gradients, no waiting for the device."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from magsd_cli.errors import UsageError
from magsd_cli.method.guided import AUGMENTATIONS, choose_maps
from magsd_cli.method.soft_distance import LOSSES, soft_label
from magsd_cli.method.step import STEPS, StepResult, attention_guided_step, plain_step
from magsd_cli.models.build import build_model
from magsd_cli.models.output import Output
from magsd_cli.recipe import Recipe, recipe_from_values

WAITING = {
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.equal",
}  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe(**sections: dict[str, Any]) -> Recipe:
    model = {"backbone": "resnet18", "attention_maps": 4, "weights": "none", **sections.pop("model", {})}
    return recipe_from_values({"model": model, **sections}, "test")


def batch(count: int = 3, size: int = 64) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 1, size, size, generator=generator(1)), torch.arange(count) % 3


class Scripted(nn.Module):
    """A network that answers its calls with given probabilities in turn, whatever it is shown."""

    def __init__(self, *answers: list[list[float]], attention: Tensor | None) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))
        self.answers = [torch.tensor(answer).log() for answer in answers]
        self.attention = attention
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Output:
        self.seen.append(images)
        return Output(self.answers[len(self.seen) - 1] + self.shift, self.attention)


def _by_hand(**sections: dict[str, Any]) -> StepResult:
    """P = (0.8, 0.2), class 0: sure, so the soft label is P. Views (0.6, 0.4), (0.9, 0.1), (0.5, 0.5)."""
    model = Scripted([[0.8, 0.2]], [[0.6, 0.4]], [[0.9, 0.1]], [[0.5, 0.5]], attention=torch.ones(1, 2, 2, 2))
    images = torch.randn(1, 1, 8, 8, generator=generator())
    return attention_guided_step(model, images, torch.tensor([0]), recipe(**sections), generator())


def test_equation_7_by_hand() -> None:
    # CE = -ln 0.8. Distances to P: 0.2, 0.1, 0.3 (both classes differ by as much). Their mean is 0.2.
    result = _by_hand()
    assert result.cross_entropy.item() == pytest.approx(-math.log(0.8))
    assert result.distance.item() == pytest.approx(0.2)
    assert result.loss.item() == pytest.approx(-math.log(0.8) + 0.2)
    assert result.correct.item() == 1
    assert all(value.ndim == 0 and not value.requires_grad for value in result)


def test_views_may_be_added_and_weighted() -> None:
    assert _by_hand(soft_distance={"over_views": "sum"}).distance.item() == pytest.approx(0.6)
    assert _by_hand(soft_distance={"weight": 5.0}).distance.item() == pytest.approx(1.0)
    assert _by_hand(soft_distance={"weight": 0.0}).loss.item() == pytest.approx(-math.log(0.8))


def test_the_other_losses_by_hand() -> None:
    # L2: errors 0.4, 0.1, 0.5 in both classes, squares 0.16, 0.01, 0.25, mean 0.14.
    assert _by_hand(train={"loss": "l2"}).distance.item() == pytest.approx(0.14)
    expected = -(math.log(0.6) + math.log(0.9) + math.log(0.5)) / 3
    assert _by_hand(train={"loss": "cross_entropy"}).distance.item() == pytest.approx(expected)


def test_the_mean_cross_entropy_of_all_views_by_hand() -> None:
    # Four alike: the image's own (0.8) and its three views' (0.6, 0.9, 0.5).
    logs = [math.log(p) for p in (0.8, 0.6, 0.9, 0.5)]
    for ignored in ({}, {"weight": 5.0}, {"over_views": "sum"}):
        result = _by_hand(train={"loss": "mean_cross_entropy"}, soft_distance=ignored)
        assert result.cross_entropy.item() == pytest.approx(-logs[0] / 4)
        assert result.loss.item() == pytest.approx(-sum(logs) / 4)
    smoothed = _by_hand(train={"loss": "mean_cross_entropy", "label_smoothing": 0.2}).loss.item()
    assert smoothed == pytest.approx(
        -sum(0.9 * log + 0.1 * math.log(1 - math.exp(log)) for log in logs) / 4, abs=1e-6
    )


def test_the_mean_cross_entropy_gives_its_own_gradient() -> None:
    settings = recipe(train={"loss": "mean_cross_entropy", "augment": ["dimming"]})
    images, targets = batch(3)
    one, two = (build_model(settings.model, 3, seed=0) for _ in range(2))
    attention_guided_step(one, images, targets, settings, generator(9))
    draws = generator(9)
    output = two(images)
    maps = choose_maps(output.attention.detach(), settings.guide.map_choice, 1, draws)
    view = AUGMENTATIONS["dimming"](images, maps, settings.guide, draws)
    (sum(F.cross_entropy(x, targets) for x in (output.logits, two(view).logits)) / 2).backward()
    assert torch.allclose(one.classifier.weight.grad, two.classifier.weight.grad, atol=1e-5)


def test_label_smoothing_acts_on_the_primary_cross_entropy() -> None:
    # 0.2 over two classes: 0.9 and 0.1.
    result = _by_hand(train={"label_smoothing": 0.2})
    assert result.cross_entropy.item() == pytest.approx(-0.9 * math.log(0.8) - 0.1 * math.log(0.2))


@pytest.mark.parametrize("augment", [["mixup"], ["patching"], ["dimming"], ["patching", "mixup"]])
def test_any_subset_of_views_goes_through_the_network_one_at_a_time(augment: list[str]) -> None:
    answers = [[[0.6, 0.4]]] * 4
    peak = torch.zeros(1, 2, 4, 4)
    peak[..., 1, 2] = 1
    model = Scripted(*answers, attention=peak)
    images = torch.randn(1, 1, 16, 16, generator=generator(2))
    attention_guided_step(model, images, torch.tensor([0]), recipe(train={"augment": augment}), generator())
    assert torch.equal(model.seen[0], images)
    assert len(model.seen) == 1 + len(augment)
    assert all(view.shape == images.shape and not torch.equal(view, images) for view in model.seen[1:])


def test_without_views_the_step_is_the_plain_one() -> None:
    images, targets = batch(2)
    gradients = []
    for step, augment in (("plain", ["mixup"]), ("attention_guided", [])):
        settings = recipe(train={"step": step, "augment": augment})
        model = build_model(settings.model, 3, seed=0)
        result = STEPS[step](model, images, targets, settings, generator())
        assert result.distance == 0
        assert result.loss == result.cross_entropy
        gradients.append(model.classifier.weight.grad)
    assert torch.equal(gradients[0], gradients[1])


def _joint(model: nn.Module, images: Tensor, targets: Tensor, settings: Recipe) -> Tensor:
    """Eq. 7 as one sum with one backward at the end, nothing detached by hand but what Algorithm 1 needs."""
    draws = generator(9)
    output = model(images)
    loss = F.cross_entropy(output.logits, targets)
    soft = soft_label(output.logits, targets, settings.soft_distance)
    names = settings.train.augment
    maps = choose_maps(output.attention.detach(), settings.guide.map_choice, len(names), draws)
    for number, name in enumerate(names):
        view = AUGMENTATIONS[name](images, maps[:, number : number + 1], settings.guide, draws)
        loss = loss + LOSSES[settings.train.loss](soft, model(view).logits, targets) / len(names)
    loss.backward()
    return loss.detach()


def test_the_gradients_are_those_of_the_joint_backward() -> None:
    settings = recipe()
    images, targets = batch(3)
    one, two = (build_model(settings.model, 3, seed=0) for _ in range(2))
    result = attention_guided_step(one, images, targets, settings, generator(9))
    assert result.loss.item() == pytest.approx(_joint(two, images, targets, settings).item(), rel=1e-6)
    ours = torch.cat([p.grad.flatten() for p in one.parameters()])
    joint = torch.cat([p.grad.flatten() for p in two.parameters()])
    assert (ours - joint).norm() / joint.norm() < 1e-5
    for mine, other in zip(one.buffers(), two.buffers(), strict=True):
        assert torch.equal(mine, other)  # batch-norm statistics of the same four forwards


def test_the_same_generator_gives_the_same_bits() -> None:
    settings = recipe()
    images, targets = batch(2)
    state = torch.get_rng_state()
    gradients = []
    for seed in (4, 4, 5):
        model = build_model(settings.model, 3, seed=0)
        attention_guided_step(model, images, targets, settings, generator(seed))
        gradients.append(model.features.conv1.weight.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])
    assert torch.equal(state, torch.get_rng_state())


class _NoWaiting(TorchDispatchMode):
    """Fails on every operation that would make the host wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).rsplit(".", 1)[0]
        assert name not in WAITING, f"{func} waits for the device"
        if name in ("aten.index", "aten.index_put", "aten.index_put_"):
            masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
            assert not masks, f"{func} with a mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_step_never_waits_for_the_device(loss: str) -> None:
    settings = recipe(train={"loss": loss}, soft_distance={"replace_wrong": True})
    model = build_model(settings.model, 3, seed=0)
    images, targets = batch(2)
    with _NoWaiting():
        attention_guided_step(model, images, targets, settings, generator())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("pooling", ["attention", "gap"])
def test_a_map_that_is_not_finite_makes_the_loss_so(value: float, pooling: str) -> None:
    settings = recipe(model={"pooling": pooling})
    model = build_model(settings.model, 3, seed=0)
    images, targets = batch(2)
    hook = model.branches[0].register_forward_hook(
        lambda _m, _i, maps: maps.index_fill(1, torch.tensor([1]), value)
    )
    result = attention_guided_step(model, images, targets, settings, generator())
    hook.remove()
    assert not result.loss.isfinite()


def test_a_network_without_maps_is_told_to_train_plainly() -> None:
    model = Scripted([[0.5, 0.5]], attention=None)
    images, targets = torch.zeros(1, 1, 8, 8), torch.tensor([0])
    with pytest.raises(UsageError, match=r"has no attention maps; set train\.step=plain"):
        attention_guided_step(model, images, targets, recipe(), generator())
    assert plain_step(
        Scripted([[0.5, 0.5]], attention=None), images, targets, recipe(), generator()
    ).loss.item() == pytest.approx(math.log(2))


def test_bf16_trains_and_returns_float32() -> None:
    settings = recipe(train={"precision": "bf16"})
    model = build_model(settings.model, 3, seed=0)
    images, targets = batch(2)
    result = attention_guided_step(model, images, targets, settings, generator())
    reference = attention_guided_step(
        build_model(settings.model, 3, seed=0), images, targets, recipe(), generator()
    )
    assert result.loss.dtype == torch.float32
    assert result.cross_entropy.item() == pytest.approx(reference.cross_entropy.item(), rel=0.1)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.gpu
def test_the_step_runs_without_a_sync_on_cuda() -> None:
    settings = recipe()
    model = build_model(settings.model, 3, seed=0).cuda()
    images, targets = (t.cuda() for t in batch(4))
    draws = torch.Generator("cuda").manual_seed(0)
    attention_guided_step(model, images, targets, settings, draws)  # the first call may load kernels
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = attention_guided_step(model, images, targets, settings, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.loss.isfinite()
