"""train.precision=auto: which is taken, that measuring changes no bit, and that a run measures once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_cache import write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.artifacts.checkpoints import read_weights
from magsd_cli.artifacts.precision import PrecisionChoice, precision_words
from magsd_cli.artifacts.runs import Run, open_run, weights_path
from magsd_cli.recipe import load_recipe
from magsd_cli.runtime import device as device_module
from magsd_cli.settings import Preprocessing
from magsd_cli.training import precision as room
from magsd_cli.training import run as run_module
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.precision import STEPS, Trial, choose_precision, judge, measure
from magsd_cli.training.run import train
from magsd_cli.training.state import Task, TrainingState

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
AUTO = "train.precision=auto"
KEYS = (*TRAINING_KEYS, "train.epochs=1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("data") / "cache", count=18)


def a_task(**train: object) -> Task:
    keys = [*TRAINING_KEYS, *(f"train.{key}={value}" for key, value in train.items())]
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 64, 64), dtype=np.uint8)
    return Task(images, np.arange(12, dtype=np.int64) % 2, 2, load_recipe("base", keys), 0, CPU)


def a_clock(seconds: dict[str, float]) -> tuple[Callable[..., torch.Tensor], Callable[[], float]]:
    """A step that takes as long as `seconds` says of its precision, and the clock that shows it."""
    now = [0.0]

    def step(task: Task, *_: object) -> torch.Tensor:
        now[0] += seconds[task.recipe.train.precision]
        return torch.tensor([2.0, 2.0, 0.0, 1.0, 2.0])

    return step, lambda: now[0]


@pytest.mark.parametrize(
    ("seconds", "losses", "chosen"),
    [
        ((1.0, 0.5), (1.0, 1.0), "bf16"),
        ((1.0, 0.5), (1.0, 1.019), "bf16"),
        ((1.0, 0.5), (1.0, 0.981), "bf16"),
        ((1.0, 0.5), (1.0, 1.03), "fp32"),
        ((1.0, 0.5), (1.0, 0.97), "fp32"),
        ((0.5, 1.0), (1.0, 1.0), "fp32"),
        ((1.0, 1.0), (1.0, 1.0), "fp32"),
        ((1.0, 0.5), (1.0, float("nan")), "fp32"),
        ((1.0, 0.5), (float("nan"), 1.0), "fp32"),
        ((1.0, 0.5), (float("inf"), float("inf")), "fp32"),
    ],
)
def test_the_faster_one_is_taken_whose_loss_keeps_to_fp32s(
    seconds: tuple[float, float], losses: tuple[float, float], chosen: str
) -> None:
    trials = {
        name: Trial([time] * STEPS, [9.0] * 15 + [loss] * 5)
        for name, time, loss in zip(("fp32", "bf16"), seconds, losses, strict=True)
    }
    choice = judge(trials, "cpu")
    assert choice.chosen == chosen
    assert choice.steps == STEPS
    json.dumps(choice.loss, allow_nan=False)
    assert precision_words(choice).startswith(f"{chosen} on cpu: ")


def test_the_first_steps_and_single_slow_ones_do_not_count() -> None:
    slow = Trial([9.0, 9.0, 9.0, 0.5, 0.5, 0.5, 9.0, 0.5], [1.0] * 8)
    assert judge({"fp32": Trial([1.0] * 8, [1.0] * 8), "bf16": slow}, "cpu").chosen == "bf16"


def test_each_precision_gets_its_own_time() -> None:
    trials = measure(a_task(epochs=10), *a_clock({"fp32": 3.0, "bf16": 2.0}))
    assert {name: trial.time for name, trial in trials.items()} == {"fp32": 3.0, "bf16": 2.0}
    assert {len(trial.losses) for trial in trials.values()} == {STEPS}
    assert trials["bf16"].loss == 1.0


def test_a_training_of_fewer_steps_is_measured_in_all_of_them() -> None:
    trials = measure(a_task(epochs=2, batch_size=6), *a_clock({"fp32": 3.0, "bf16": 2.0}))
    assert {len(trial.losses) for trial in trials.values()} == {4}
    assert judge(trials, "cpu").steps == 4


def test_the_steps_are_those_of_a_training_and_change_no_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32 alone: where a CPU has no bf16, its steps take a minute."""
    monkeypatch.setattr(room, "CANDIDATES", ("fp32",))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    trials = measure(a_task(epochs=1, batch_size=6), clock=count().__next__)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(trials["fp32"].losses) == 2
    again = measure(a_task(epochs=1, batch_size=6), clock=count().__next__)
    assert again["fp32"].losses == trials["fp32"].losses


def test_both_see_the_same_random_numbers_and_batches_from_the_same_weights() -> None:
    seen: dict[str, list[torch.Tensor]] = {"fp32": [], "bf16": []}

    def step(task: Task, state: TrainingState, pixels: torch.Tensor, *_: object) -> torch.Tensor:
        weights = torch.cat([value.flatten() for value in state.model.state_dict().values()])
        drawn = torch.rand(4, generator=state.generator)
        seen[task.recipe.train.precision] += [pixels.clone(), weights, drawn, torch.rand(4)]
        return torch.tensor([2.0, 2.0, 0.0, 1.0, 2.0])

    measure(a_task(epochs=1, batch_size=6), step)
    assert len(seen["fp32"]) == len(seen["bf16"]) == 8
    assert all(torch.equal(one, other) for one, other in zip(seen["fp32"], seen["bf16"], strict=True))
    assert not torch.equal(seen["fp32"][2], seen["fp32"][6])


def test_a_training_uses_the_choice_and_the_recipe_says_auto() -> None:
    recipe = load_recipe("base", [*KEYS, AUTO])
    run = Run(
        path=Path("run"), kind="cv", recipe=recipe, classes=("a", "b"), cache_path=Path("cache.h5"),
        cache_digest="", preprocessing=Preprocessing(64), fold_count=2, trained=(0, 1), threads=1,
        precision=PrecisionChoice("bf16", "cpu"),
    )  # fmt: skip
    assert run.training_recipe == load_recipe("base", [*KEYS, "train.precision=bf16"])
    assert run.recipe.hash() != run.training_recipe.hash()
    assert replace(run, precision=None).training_recipe is recipe


@pytest.mark.parametrize(
    ("device", "fast", "reason"),
    [("cpu", True, ""), ("cpu", False, "this CPU has no avx512_bf16"), ("cuda", True, "")],
)
def test_what_has_no_fast_bf16(device: str, fast: bool, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: fast)
    assert device_module.why_no_fast_bf16(torch.device(device)) == reason


def test_without_it_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "why_no_fast_bf16", lambda _: "this CPU has no avx512_bf16")
    monkeypatch.setattr(room, "measure", pytest.fail)
    choice = choose_precision(SimpleNamespace(), CPU)  # type: ignore[arg-type]
    assert choice == PrecisionChoice("fp32", "cpu", "this CPU has no avx512_bf16")
    assert precision_words(choice) == "fp32, not measured: this CPU has no avx512_bf16"


def test_what_runs_out_of_memory_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_task: object) -> dict[str, Trial]:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(room, "why_no_fast_bf16", lambda _: "")
    monkeypatch.setattr(room, "training_task", lambda *_: None)
    monkeypatch.setattr(room, "measure", full)
    recipe = SimpleNamespace(train=SimpleNamespace(tf32="none"))
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    plan = SimpleNamespace(threads=threads + 1, run=SimpleNamespace(recipe=recipe, trained=(0,)))
    choice = choose_precision(plan, CPU)  # type: ignore[arg-type]
    assert (choice.chosen, choice.reason) == ("fp32", "it ran out of memory while measuring")
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine where bf16 could be faster and is not; how many steps each measuring did, in fp32 alone."""
    steps: list[int] = []

    def measure_one(task: Task) -> dict[str, Trial]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(room, "CANDIDATES", ("fp32",))
            full = measure(task)["fp32"]
        steps.append(len(full.losses))
        return {"fp32": Trial([1.0], full.losses), "bf16": Trial([2.0], full.losses)}

    monkeypatch.setattr(room, "why_no_fast_bf16", lambda _: "")
    monkeypatch.setattr(room, "measure", measure_one)
    return steps


def test_a_run_measures_once_and_ends_in_the_bits_of_one_that_was_told(
    cache: Path, tmp_path: Path, measured: list[int], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def options(name: str, precision: str) -> RunOptions:
        recipe = load_recipe("base", [*KEYS, f"train.precision={precision}"])
        return RunOptions(runs=tmp_path, cache=cache, recipe=recipe, name=name, device="cpu")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before its first network
        patch.setattr(run_module, "train_fold", killed)
        with pytest.raises(KeyboardInterrupt):
            train(options("auto", "auto"))
    assert len(measured) == 1
    assert "train.precision=auto: fp32 on cpu: 1000 ms a step, bf16 2000 ms" in capsys.readouterr().err
    monkeypatch.setattr(room, "why_no_fast_bf16", lambda _: "another machine")
    run = train(options("auto", "auto"))
    assert len(measured) == 1
    assert "train.precision" not in capsys.readouterr().err
    opened = open_run(run)
    assert opened.recipe.train.precision == "auto"
    assert opened.precision is not None
    assert opened.precision.seconds == {"fp32": 1.0, "bf16": 2.0}
    assert opened.recipe.hash() == load_recipe("base", [*KEYS, AUTO]).hash()

    told = train(options("told", "fp32"))
    assert open_run(told).precision is None
    ours, theirs = (read_weights(weights_path(path, 0))[0] for path in (run, told))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_on_a_cluster_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "choose_precision", pytest.fail)
    options = RunOptions(runs=Path("runs"), cluster="auto")
    choice = run_module._precision(SimpleNamespace(), options, CPU)  # type: ignore[arg-type]
    assert (choice.chosen, choice.seconds) == ("fp32", {})
    assert "cluster" in choice.reason
