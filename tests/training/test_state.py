"""One optimiser step: what it asks of a device, and the recipe's keys for speed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from magsd_cli.errors import DeviceError
from magsd_cli.recipe import Recipe, load_recipe
from magsd_cli.runtime.device import check_precision, make_repeatable, set_tf32
from magsd_cli.training.loop import train_step
from magsd_cli.training.state import Task, new_state

KEYS = ("model.backbone=resnet18", "model.weights=none", "model.attention_maps=4", "image.size=64")
CPU, BATCH = torch.device("cpu"), 4
#: Operations that make the host wait for a GPU: it must see a value, or a size that depends on one.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique", "is_nonzero", "item")


class Seen(TorchDispatchMode):
    """Notes every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(str(function).removeprefix("aten.").split(".")[0])
        return function(*args, **(kwargs or {}))


def recipe(*keys: str) -> Recipe:
    return load_recipe("base", [*KEYS, *keys])


def one_step(settings: Recipe, device: torch.device = CPU, steps: int = 1) -> torch.Tensor:
    make_repeatable(device, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 1, 64, 64), np.uint8)
    task = Task(pixels, np.arange(BATCH) % 2, 2, settings, 0, device)
    state = new_state(task)
    images, targets = torch.from_numpy(pixels).to(device), torch.from_numpy(task.labels).to(device)
    for step in range(steps):
        if step == steps - 1 and device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        sums = train_step(task, state, images, targets, step, steps)
    return sums


@pytest.mark.parametrize(
    "keys", [(), ("train.weight_average=0.9",), ("train.step=plain",), ("train.loss=l2",)]
)
def test_a_step_never_asks_for_a_value(keys):
    make_repeatable(CPU, 1)
    settings = recipe(*keys)
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 1, 64, 64), np.uint8)
    task = Task(pixels, np.arange(BATCH) % 2, 2, settings, 0, CPU)
    state = new_state(task)
    with Seen() as seen:
        train_step(task, state, torch.from_numpy(pixels), torch.from_numpy(task.labels), 0, 1)
    assert "convolution" in seen.names
    assert seen.names.isdisjoint(WAITS)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_on_a_gpu_does_not_wait_for_it(precision):
    try:
        sums = one_step(recipe(f"train.precision={precision}"), torch.device("cuda"), steps=3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(sums.isfinite().all())


@pytest.mark.gpu
def test_tf32_by_key_on_a_gpu():
    found = {what: one_step(recipe(f"train.tf32={what}"), torch.device("cuda")) for what in ("all", "none")}
    torch.testing.assert_close(found["all"], found["none"], rtol=2e-2, atol=2e-2)


def test_tf32_by_key():
    before = torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    for what, expected in (
        ("all", ("tf32", "tf32")),
        ("none", ("ieee", "ieee")),
        ("convolutions", ("tf32", "ieee")),
    ):
        set_tf32(what)
        got = torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        assert got == expected
    torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision = before


def test_a_precision_that_the_device_has_not_is_refused_in_one_line(monkeypatch):
    with pytest.raises(DeviceError, match="fp16: needs a CUDA GPU; use bf16 or fp32"):
        check_precision(CPU, "fp16")
    check_precision(CPU, "bf16")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old one")
    with pytest.raises(DeviceError, match=r"bf16: cuda:0 .* has no bf16; use fp16 or fp32"):
        check_precision(torch.device("cuda:0"), "bf16")


def test_a_scaled_loss_gives_the_same_step():
    """The scaler's power of two cancels exactly; fp16 itself needs a GPU, its arithmetic does not."""
    found = []
    for enabled in (False, True):
        task = Task(np.zeros((BATCH, 1, 64, 64), np.uint8), np.arange(BATCH) % 2, 2, recipe(), 0, CPU)
        state = new_state(task)
        state = replace(state, scaler=torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled))
        pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (BATCH, 1, 64, 64), np.uint8))
        train_step(task, state, pixels, torch.from_numpy(task.labels), 0, 1)
        found.append(state.model.state_dict())
    for ours, theirs in zip(*(state.values() for state in found), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(600)
def test_a_compiled_network_takes_the_same_step():
    torch.testing.assert_close(
        one_step(recipe("train.compile=true")), one_step(recipe()), rtol=1e-3, atol=1e-3
    )
