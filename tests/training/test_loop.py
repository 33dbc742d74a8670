import io
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from magsd_cli.errors import DivergedError, Interrupted
from magsd_cli.models.output import Output
from magsd_cli.recipe import Recipe, recipe_from_values
from magsd_cli.runtime.device import AUGMENTATION, NETWORK, WEIGHTS, generator_seed, make_repeatable
from magsd_cli.training import loop
from magsd_cli.training import state as state_module
from magsd_cli.training.loop import train
from magsd_cli.training.schedule import epoch_batches
from magsd_cli.training.state import Task

CPU = torch.device("cpu")
EPOCHS, IMAGES, BATCH = 3, 13, 4  # batches of 4, 4, 5: the last single image joins the third


class Network(nn.Module):
    """A small stand-in with the two things that are hard to resume: batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        self.classify = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> Output:
        return Output(self.classify(self.features(images).mean((2, 3))), None)


class Result(NamedTuple):
    loss: torch.Tensor
    cross_entropy: torch.Tensor
    distance: torch.Tensor
    correct: torch.Tensor


def build(settings, classes: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Network()


def step(model, images, targets, recipe, generator, backward=torch.autograd.backward) -> Result:
    noisy = images + 0.1 * torch.randn(images.shape, generator=generator)
    logits = model(noisy).logits
    loss = F.cross_entropy(logits, targets)
    backward(loss)
    return Result(loss.detach(), loss.detach(), torch.zeros(()), (logits.argmax(1) == targets).sum())


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    monkeypatch.setattr(state_module, "build_model", build)
    monkeypatch.setattr(loop, "training_images", lambda images, recipe, generator: images.float() / 255)
    monkeypatch.setitem(loop.STEPS, "plain", step)
    make_repeatable(CPU, 1)


def recipe(**train) -> Recipe:
    keys = {"step": "plain", "epochs": EPOCHS, "batch_size": BATCH, "warmup_epochs": 1, "lr": 0.1, **train}
    return recipe_from_values({"train": keys}, "test")


def a_task(**train) -> Task:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (IMAGES, 1, 8, 8)).astype(np.uint8)
    return Task(images, np.arange(IMAGES) % 2, 2, recipe(**train), 0, CPU)


class Disk(list[bytes]):
    """Saved states, through the same serialisation as the real ones."""

    def save(self, state: dict[str, Any], model: nn.Module) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.append(buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self[-1]), weights_only=True) if self else None


def never() -> None:
    return None


def after(batches: int):
    """A stop request that comes after so many batches and stays."""
    seen = 0

    def stop_requested() -> int | None:
        nonlocal seen
        seen += 1
        return 15 if seen >= batches else None

    return stop_requested


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    first = train(a_task(), None, Disk().save, never)
    torch.manual_seed(99)  # global state must not matter
    assert same(first, train(a_task(), None, Disk().save, never))
    other = replace(a_task(), recipe=recipe().model_copy(update={"seed": 1}))
    assert not same(first, train(other, None, Disk().save, never))
    assert not same(first, train(replace(a_task(), fold=1), None, Disk().save, never))


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("batches", range(1, 10))
def test_stopped_after_any_batch_and_resumed_gives_the_same_bits(batches, average):
    task, disk, whole = a_task(weight_average=average), Disk(), Disk()
    expected = train(task, None, whole.save, never)
    with pytest.raises(Interrupted) as stop:
        train(task, None, disk.save, after(batches))
    assert stop.value.exit_code == 143
    resumed = train(task, disk.load(), disk.save, never)
    assert same(expected, resumed)
    final, uninterrupted = disk.load(), whole.load()
    assert final is not None
    assert uninterrupted is not None
    for ours, theirs in zip(final["history"], uninterrupted["history"], strict=True):
        assert all(ours[key] == theirs[key] for key in ours if key not in ("seconds", "images_per_second"))


def test_a_state_is_saved_after_each_epoch():
    disk = Disk()
    train(a_task(), None, disk.save, never)
    states = [torch.load(io.BytesIO(data), weights_only=True) for data in disk]
    assert [(state["epoch"], state["batch"]) for state in states] == [(1, 0), (2, 0), (3, 0)]
    rows = states[-1]["history"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[0]["lr"] == pytest.approx(0.1)
    assert all(0 <= row["train_share_correct"] <= 1 and row["images_per_second"] > 0 for row in rows)
    assert all(row["loss"] == pytest.approx(row["cross_entropy"] + row["distance"]) for row in rows)


def test_a_finished_state_is_not_trained_on():
    disk = Disk()
    expected = train(a_task(), None, disk.save, never)
    again = train(a_task(), disk.load(), pytest.fail, never)
    assert same(expected, again)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_diverging_loss_ends_with_the_last_good_state(monkeypatch, epochs):
    """Weights of huge size after epoch one: the loss of the first or a later epoch is not finite."""
    disk = Disk()

    def poisoned(*arguments) -> Result:
        result = step(*arguments)
        return result if len(disk) < epochs - 1 else result._replace(loss=result.loss * float("nan"))

    monkeypatch.setitem(loop.STEPS, "plain", poisoned)
    with pytest.raises(DivergedError, match=rf"epoch {epochs};.*train\.lr=0\.01") as error:
        train(a_task(), None, disk.save, never)
    assert error.value.exit_code == 9
    assert len(disk) == epochs - 1


def test_answers_that_are_not_finite_in_evaluation_end_the_epoch(monkeypatch):
    """Weights and losses are finite, but batch norm's statistics are of a size that overflows."""

    class Overflowing(Network):
        def forward(self, images):
            answer = super().forward(images)
            return answer if self.training else Output(answer.logits * float("inf"), None)

    monkeypatch.setattr(state_module, "build_model", lambda settings, classes, seed: Overflowing())
    disk = Disk()
    with pytest.raises(DivergedError, match=r"evaluation is no longer finite in epoch 1; .* larger images"):
        train(a_task(epochs=3), None, disk.save, never)
    assert disk == []


def test_an_absurd_learning_rate_diverges():
    with pytest.raises(DivergedError):
        train(a_task(lr=1e30, momentum=0.0), None, Disk().save, never)


def test_one_step_by_hand():
    """SGD from the definition: w - lr * (gradient + weight_decay * w), with one batch of all images."""
    task = a_task(epochs=1, batch_size=IMAGES, warmup_epochs=0, lr=0.5, weight_decay=0.1, channels_last=False)
    seed = generator_seed(0, 0, 0, WEIGHTS)
    start = build(None, 2, seed)
    trained = train(task, None, Disk().save, never)
    torch.manual_seed(generator_seed(0, 0, 0, NETWORK))
    generator = torch.Generator().manual_seed(generator_seed(0, 0, 0, AUGMENTATION))
    (order,) = epoch_batches(task.labels, task.recipe.train, 0, 0, 0)
    images, targets = torch.from_numpy(task.images[order]) / 255, torch.from_numpy(task.labels[order])
    step(start, images, targets, None, generator)
    for before, after_step in zip(start.parameters(), trained.parameters(), strict=True):
        expected = before - 0.5 * (before.grad + 0.1 * before)
        torch.testing.assert_close(after_step.detach(), expected.detach())


def test_averaged_weights_by_hand():
    """mean <- mean + (1 - min(0.5, (1 + t) / (10 + t))) * (weights - mean), with one batch an epoch."""
    keys = {"batch_size": IMAGES, "weight_average": 0.5, "epochs": 2, "warmup_epochs": 0}
    states: list[dict[str, Any]] = []
    train(a_task(**keys), None, lambda state, model: states.append(copy_of(state)), never)
    mean = build(None, 2, generator_seed(0, 0, 0, WEIGHTS)).state_dict()
    for t, state in enumerate(states):
        share = 1 - min(0.5, (1 + t) / (10 + t))
        for name, value in state["model"].items():
            if value.is_floating_point():
                mean[name] = mean[name] + share * (value - mean[name])
                torch.testing.assert_close(state["average"][name], mean[name])
            else:
                assert torch.equal(state["average"][name], value)


def copy_of(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
