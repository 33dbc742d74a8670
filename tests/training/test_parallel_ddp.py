"""cv and train with several processes on each network (gloo on the CPU): what they leave, kills, refusals."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_cache import write_tiny_cache

from magsd_cli.artifacts.checkpoints import read_weights
from magsd_cli.artifacts.runs import open_run, state_path, weights_path
from magsd_cli.errors import ArtifactError, DivergedError, UsageError
from magsd_cli.recipe import Recipe, load_recipe
from magsd_cli.settings import Parallel
from magsd_cli.training.ddp import ALONE, Ranks, check_shares, on_rank_zero, share
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv, train
from magsd_cli.training.schedule import epoch_batches

KEYS = (
    "model.backbone=resnet18", "model.weights=none", "model.attention_maps=4", "image.size=64",
    "train.batch_size=6", "train.epochs=3", "train.lr=0.01", 'train.augment=["mixup"]',
)  # fmt: skip


def recipe(*keys: str) -> Recipe:
    return load_recipe("base", [*KEYS, *keys])


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("data") / "cache", count=24)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory) -> Path:
    """A training by two processes that nothing disturbed; its states are kept."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGSD_KEEP_STATE", "1")
        run = train(RunOptions(cache=cache, recipe=recipe(), runs=runs, device="cpu", gpus=2))
    torch.set_num_threads(before)
    return run


def assert_same_run(run: Path, expected: Path) -> None:
    for fold in open_run(expected).trained:
        ours, theirs = (read_weights(weights_path(path, fold))[0] for path in (run, expected))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("predictions.parquet", "metrics.json", "folds.parquet"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name


def start(cache: Path, runs: Path, *options: str) -> subprocess.Popen[str]:
    sets = [part for key in KEYS for part in ("--set", key)]
    given = ["--runs", str(runs), "--cache", str(cache), "--device", "cpu", "--gpus", "2", *sets, *options]
    return subprocess.Popen(
        [sys.executable, "-m", "magsd_cli", "train", *given],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_what_a_joint_training_leaves(whole):
    history = pd.read_parquet(whole / "fold0/history.parquet")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert open_run(whole).threads == 1
    assert open_run(whole).complete
    strays = [path.name for path in whole.rglob(".*") if path.suffix == ".tmp"]
    assert strays == []


@pytest.mark.sample
@pytest.mark.slow
def test_a_killed_rank_is_started_again_from_the_checkpoint(whole, cache, tmp_path):
    process = start(cache, tmp_path)
    run = tmp_path / whole.name
    wait_for(state_path(run, 0), process)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    assert "a process died; all go on from the last checkpoint (1 of 3 restarts)" in errors
    assert "Traceback" not in errors
    assert_same_run(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_joint_training_saves_and_goes_on(whole, cache, tmp_path, number, code):
    process = start(cache, tmp_path)
    run = tmp_path / whole.name
    wait_for(state_path(run, 0), process)
    workers = ranks_of(process)
    for pid in (process.pid, *(workers if number == signal.SIGINT else ())):
        os.kill(pid, number)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == code, errors
    assert "run the same command again to continue" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    process = start(cache, tmp_path)
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors
    assert_same_run(run, whole)


@pytest.mark.slow
def test_cv_with_two_processes_a_network(cache, tmp_path):
    folds = {}
    for way in Parallel:
        asked = RunOptions(tmp_path, cache, recipe("train.epochs=1"), name=way, folds=2, device="cpu")
        run = cv(replace(asked, gpus=2, parallel=way))
        folds[way] = pd.read_parquet(run / "folds.parquet")
    assert folds["folds"].equals(folds["ddp"])


def test_an_error_of_the_ranks_is_the_command_s(cache, tmp_path):
    with pytest.raises(DivergedError, match=r"train\.lr"):
        train(RunOptions(cache=cache, recipe=recipe("train.lr=1e30"), runs=tmp_path, device="cpu", gpus=2))
    assert not list(tmp_path.glob("*/metrics.json"))


def test_another_number_of_processes_is_refused(whole, tmp_path):
    begun = tmp_path / whole.name
    shutil.copytree(whole, begun, ignore=shutil.ignore_patterns("metrics.json", "predictions.parquet"))
    with pytest.raises(ArtifactError, match="was trained by 2 processes together, not 1"):
        train(RunOptions(cache=None, recipe=None, runs=tmp_path, resume=begun, device="cpu"))


def test_a_batch_too_small_to_share_is_refused(cache, tmp_path):
    with pytest.raises(UsageError, match=r"train\.batch_size=6: is shared by 4 processes"):
        train(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, device="cpu", gpus=4))
    assert list(tmp_path.iterdir()) == []
    check_shares(recipe(), 100, 3)
    check_shares(recipe("train.batch_size=1"), 100, 1)


def test_shares_are_the_batch():
    batches = epoch_batches(
        labels=torch.arange(23).numpy() % 3, settings=recipe().train, seed=0, fold=0, epoch=0, ranks=3
    )
    assert [len(batch) for batch in batches] == [6, 6, 11]  # the last five would leave one process one image
    for batch in batches:
        shares = [share(batch, Ranks(rank, 3)) for rank in range(3)]
        assert [i for part in shares for i in part] == list(batch)
        assert min(len(part) for part in shares) >= 2


def test_alone_the_first_does_it_and_raises_its_error():
    assert on_rank_zero(lambda: 3, ALONE) == 3
    with pytest.raises(UsageError):
        on_rank_zero(lambda: check_shares(recipe(), 1, 2), ALONE)
