"""`cv --refit`: one more network, trained on every image, that goes on after a kill like a fold."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cache import write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.artifacts.checkpoints import read_state, read_weights
from magsd_cli.artifacts.runs import (
    REFIT,
    REFIT_FIGURES,
    expected_files,
    history_path,
    model_sha256,
    open_run,
    recorded_sha256,
    refit_path,
    run_file,
    state_path,
    weights_path,
)
from magsd_cli.errors import ArtifactError, DivergedError, Interrupted
from magsd_cli.inference.model import open_trained
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Network
from magsd_cli.tools.verify import verify
from magsd_cli.training import fold as fold_module
from magsd_cli.training import loop
from magsd_cli.training.fold import training_task
from magsd_cli.training.parallel import folds as parallel_folds
from magsd_cli.training.plan import RunOptions, open_plan
from magsd_cli.training.run import cv

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = 12


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    cache = write_tiny_cache(tmp_path_factory.mktemp("data") / "cache", count=IMAGES)
    recipe = load_recipe("base", [*TRAINING_KEYS, "train.epochs=1"])
    runs = tmp_path_factory.mktemp("runs")
    return RunOptions(runs=runs, cache=cache, recipe=recipe, folds=2, device="cpu", name="plain")


@pytest.fixture(scope="module")
def plain(options: RunOptions) -> Path:
    """A finished run without a refit."""
    return cv(options)


@pytest.fixture(scope="module")
def refitted(plain: Path, options: RunOptions) -> Path:
    """The same with one, undisturbed; its states are kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGSD_KEEP_STATE", "1")
        return cv(replace(options, refit=True, name="refitted"))


def same_weights(one: Path, other: Path, fold: int) -> bool:
    ours, theirs = (read_weights(weights_path(run, fold))[0] for run in (one, other))
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_lies_beside_the_folds_and_changes_nothing_of_them(plain: Path, refitted: Path) -> None:
    assert open_run(refitted).recipe.hash() == open_run(plain).recipe.hash()
    for name in ("predictions.parquet", "metrics.json", "folds.parquet", "recipe.json", "operating.json"):
        assert (refitted / name).read_bytes() == (plain / name).read_bytes(), name
    for fold in (0, 1):
        assert same_weights(refitted, plain, fold)
        assert not _equal(refitted, fold)
    assert not (plain / "refit").exists()
    assert "refit" not in json.loads(run_file(plain).read_text())


def _equal(run: Path, fold: int) -> bool:
    ours, theirs = (read_weights(weights_path(run, number))[0] for number in (fold, REFIT))
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_it_is_trained_on_every_image(refitted: Path, options: RunOptions) -> None:
    assert options.cache is not None
    task = training_task(open_plan(refitted, options.cache), REFIT, torch.device("cpu"))
    assert task.rows is not None
    assert sorted(task.rows) == list(range(IMAGES))
    facts = json.loads(refit_path(refitted).read_text())
    assert facts["trained_on_images"] == IMAGES
    assert facts["figures"] == REFIT_FIGURES == json.loads(run_file(refitted).read_text())["refit"]["figures"]
    state = read_state(state_path(refitted, REFIT))
    assert state is not None
    assert state["identity"]["fold"] == REFIT


def test_its_hash_is_its_own(refitted: Path) -> None:
    run = open_run(refitted)
    assert model_sha256(run, Network.refit) == recorded_sha256(run, Network.refit) != model_sha256(run)


def test_verify_covers_it(refitted: Path) -> None:
    files = expected_files(open_run(refitted))
    for place in (weights_path, history_path):
        assert place(refitted, REFIT) in files
    assert refit_path(refitted) in files
    assert verify(refitted) == 0
    for path in (weights_path(refitted, REFIT), refit_path(refitted)):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(ArtifactError):
            verify(refitted)
        path.write_bytes(before)
    history = history_path(refitted, REFIT)
    kept = [(path, path.read_bytes()) for path in (history, history.with_name(history.name + ".sha256"))]
    for path, _ in kept:
        path.unlink()
    with pytest.raises(ArtifactError):
        verify(refitted)
    for path, content in kept:
        path.write_bytes(content)


def test_a_kill_goes_on_without_being_asked_again(
    refitted: Path,
    plain: Path,
    options: RunOptions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Asked of a finished run, stopped in its only epoch, resumed without --refit: the undisturbed bits."""
    asked = replace(options, refit=True)
    steps: list[int] = []
    with monkeypatch.context() as patch:
        real = loop.train_step

        def stop_after_one(*given: object) -> torch.Tensor:
            steps.append(1)
            return real(*given)  # type: ignore[arg-type]

        patch.setattr(loop, "train_step", stop_after_one)
        patch.setattr(fold_module, "stop_requests", _stop_after(steps))
        with pytest.raises(Interrupted, match="refit: stopped in epoch 1 of 1, saved"):
            cv(asked)
    assert steps == [1]
    assert open_run(plain).complete
    assert open_run(plain).refit
    with pytest.raises(ArtifactError, match=r"has no refit network; train one with `magsd cv --resume"):
        open_trained(plain, options.runs, Network.refit)
    capsys.readouterr()
    cv(replace(options, recipe=None, cache=None, name=None, resume=plain))
    said = capsys.readouterr().err
    assert "1 network to train" in said
    assert f"refit: trained on all images; its figures are {REFIT_FIGURES}" in said
    assert same_weights(plain, refitted, REFIT)
    assert open_trained(plain, options.runs, Network.refit).path == plain
    again = cv(options)
    assert again == plain
    assert open_run(plain).refit


def _stop_after(steps: list[int]) -> Callable[..., Any]:
    return lambda _parent: nullcontext(lambda: 15 if steps else None)


def test_what_fails_in_it_takes_nothing_from_the_cross_validation(
    options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fold_module._train_and_save

    def diverge(run: object, task: object, parent: object) -> None:
        if task.fold == REFIT:  # type: ignore[attr-defined]
            raise DivergedError("refit: the loss is no longer finite")
        real(run, task, parent)  # type: ignore[arg-type]

    monkeypatch.setattr(fold_module, "_train_and_save", diverge)
    with pytest.raises(DivergedError, match="refit: the loss"):
        cv(replace(options, runs=tmp_path, refit=True))
    run = open_run(tmp_path / "plain")
    assert run.complete
    assert (run.path / "operating.json").exists()
    assert not run.fold_is_done(REFIT)


def test_side_by_side_its_error_waits_for_the_folds() -> None:
    failed: list[Exception] = []
    error = DivergedError("no")
    parallel_folds._keep_of_refit(REFIT, error, failed)
    assert failed == [error]
    with pytest.raises(DivergedError):
        parallel_folds._keep_of_refit(0, error, failed)
    with pytest.raises(Interrupted):
        parallel_folds._keep_of_refit(REFIT, Interrupted(2, "stop"), failed)


def test_side_by_side_it_is_the_same_network(options: RunOptions, refitted: Path, tmp_path: Path) -> None:
    run = cv(replace(options, runs=tmp_path, refit=True, gpus=2))
    for fold in (0, 1, REFIT):
        assert same_weights(run, refitted, fold)
