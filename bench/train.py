"""Speed and memory of the training step as ratios within one run: `python bench/train.py [--profile]`.

The attention-guided step (a primary and three guided views of B images, with augmentation and optimiser)
against forward and backward of the plain backbone on the same 4B images, and against the same step with one
joint backward. Rounds are interleaved; a figure is the median of the rounds' ratios with its quartiles.
Memory is what a step adds at its peak: of a process of its own on the CPU, of the device on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from magsd_cli.method.guided import AUGMENTATIONS, choose_maps
from magsd_cli.method.soft_distance import LOSSES, soft_label
from magsd_cli.method.step import STEPS, Backward, StepResult
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Recipe, load_recipe
from magsd_cli.runtime.device import choose_devices, describe, make_repeatable, set_tf32
from magsd_cli.training.loop import train_step
from magsd_cli.training.state import Task, new_state

CLASSES = 3
Step = Callable[[], object]


def main() -> None:
    given = arguments()
    device = choose_devices(given.device)[0]
    make_repeatable(device, given.threads)
    set_tf32(given.tf32)
    if given.peak:
        print(json.dumps({"bytes": peak(given, device)}))
        return
    load = os.getloadavg()[0]
    print(f"{describe(device)}, {given.threads} threads, torch {torch.__version__}, load {load:.1f}")
    print(f"{given.backbone}, {given.size} px, B = {given.batch}, {given.precision}, {given.rounds} rounds")
    if given.profile:
        profile(given, device)
        return
    if given.rounds:
        speed(given, device)
    if not given.no_memory:
        memory()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--tf32", default="convolutions", choices=["convolutions", "all", "none"])
    parser.add_argument("--compile", action="store_true", help="torch.compile both networks")
    parser.add_argument("--profile", action="store_true", help="say where the time of the step goes")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", choices=["guided", "joint"], help=argparse.SUPPRESS)
    return parser.parse_args()


def guided(given: argparse.Namespace, device: torch.device) -> Step:
    """One optimiser step of ours, as training does it."""
    keys = [f"model.backbone={given.backbone}", "model.weights=none", f"train.precision={given.precision}"]
    keys += [f"image.size={given.size}", f"train.batch_size={given.batch}", f"train.tf32={given.tf32}"]
    recipe = load_recipe("base", [*keys, f"train.compile={'true' if given.compile else 'false'}"])
    pixels = np.random.default_rng(0).integers(0, 256, (given.batch, 1, given.size, given.size), np.uint8)
    labels = np.arange(given.batch) % CLASSES
    task = Task(pixels, labels, CLASSES, recipe, 0, device)
    state = new_state(task)
    state.model.train()
    images, targets = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device)
    return lambda: train_step(task, state, images, targets, 0, 10)


def joint_step(
    model: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    backward: Backward = torch.autograd.backward,
) -> StepResult:
    """The same losses with all four graphs held until one backward, as the authors' step does."""
    output, names = model(images), recipe.train.augment
    entropy = F.cross_entropy(output.logits, targets)
    soft = soft_label(output.logits, targets, recipe.soft_distance)
    maps = choose_maps(output.attention.detach(), recipe.guide.map_choice, len(names), generator)
    distance = torch.zeros_like(entropy)
    for number, name in enumerate(names):
        view = AUGMENTATIONS[name](images, maps[:, number : number + 1], recipe.guide, generator)
        distance = distance + LOSSES[recipe.train.loss](soft, model(view).logits, targets) / len(names)
    backward(entropy + distance)
    correct = (output.logits.argmax(1) == targets).sum()
    return StepResult((entropy + distance).detach(), entropy.detach(), distance.detach(), correct)


def plain(given: argparse.Namespace, device: torch.device) -> Step:
    """Forward and backward of the plain network on 4B images; no augmentation, no optimiser."""
    settings = load_recipe("base", [f"model.name={given.backbone}", "model.weights=none"]).model
    model = build_model(settings, CLASSES, 0).to(device).to(memory_format=torch.channels_last).train()
    network = torch.compile(model) if given.compile else model
    images = torch.randn(4 * given.batch, 1, given.size, given.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(4 * given.batch, device=device) % CLASSES
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(given.precision)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device.type, kind, enabled=kind is not None):
            logits = network(images).logits
        torch.autograd.backward(F.cross_entropy(logits.float(), targets))

    return step


def speed(given: argparse.Namespace, device: torch.device) -> None:
    steps = {"guided": guided(given, device), "plain": plain(given, device)}
    for step in steps.values():
        for _ in range(2 if device.type == "cpu" else 10):
            seconds(step, device)
    rounds = [{name: seconds(step, device) for name, step in steps.items()} for _ in range(given.rounds)]
    times = {name: [r[name] for r in rounds] for name in steps}
    for name, values in times.items():
        print(f"{name}: {spread(values)} s for {4 * given.batch} images seen by the network")
    print(
        f"guided step against plain, time: {spread([r['guided'] / r['plain'] for r in rounds])} (must 1.10)"
    )
    print(
        "primary images/s against the plain network's images/s over four: "
        f"{spread([r['plain'] / r['guided'] for r in rounds])} (GPU, bf16: must 0.85); "
        f"{given.batch / float(np.median(times['guided'])):.2f} primary images/s"
    )


def seconds(step: Step, device: torch.device, repeats: int | None = None) -> float:
    """Seconds of one step; a GPU's are the mean of ten between two waits for it."""
    repeats = repeats or (1 if device.type == "cpu" else 10)
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def spread(values: list[float]) -> str:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.3f} [{low:.3f} to {high:.3f}]"


def memory() -> None:
    grown = {}
    for kind in ("guided", "joint"):
        command = [sys.executable, __file__, *sys.argv[1:], "--peak", kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        grown[kind] = json.loads(done.stdout)["bytes"]
        print(f"{kind} step: {grown[kind] / 2**20:.0f} MiB at its peak above the network alone")
    print(f"memory against one joint backward: {grown['guided'] / grown['joint']:.3f} (must 0.70)")


def peak(given: argparse.Namespace, device: torch.device) -> int:
    """What steps add at their peak to a process that holds the network."""
    if given.peak == "joint":
        STEPS["attention_guided"] = joint_step
    step = guided(given, device)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        step()
        step()
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set so far is forgotten
    before = resident("VmRSS")
    step()
    step()
    return resident("VmHWM") - before


def resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def profile(given: argparse.Namespace, device: torch.device) -> None:
    step = guided(given, device)
    step()
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as found:
        seconds(step, device)
    order = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(found.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()
