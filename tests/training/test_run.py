"""The whole of train and cv on a tiny network: what is left on disk, and what a second start does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import metrics as sk
from tiny_cache import CLASSES, write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.artifacts.checkpoints import read_state, read_weights, write_weights
from magsd_cli.artifacts.files import check_hash, lock
from magsd_cli.artifacts.runs import find_newest_run, open_run, state_path, weights_path
from magsd_cli.artifacts.tables import OUT_OF_FOLD, read_table
from magsd_cli.errors import (
    ArtifactError,
    DeviceError,
    DivergedError,
    Interrupted,
    LockedError,
    NoInputError,
    UsageError,
)
from magsd_cli.recipe import Recipe, load_recipe
from magsd_cli.training import fold as fold_module
from magsd_cli.training import loop
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv, train

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(*keys: str) -> Recipe:
    return load_recipe("base", [*TRAINING_KEYS, *keys])


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return write_tiny_cache(tmp_path_factory.mktemp("data") / "cache", count=12)


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory) -> Path:
    """A cv run that nothing disturbed."""
    runs = tmp_path_factory.mktemp("runs")
    return cv(RunOptions(cache=cache, recipe=recipe(), runs=runs, folds=2, device="cpu"))


@pytest.fixture(scope="module")
def side_by_side(cache, tmp_path_factory) -> Path:
    """The same run with two worker processes."""
    runs = tmp_path_factory.mktemp("runs")
    return cv(RunOptions(cache=cache, recipe=recipe(), runs=runs, folds=2, device="cpu", gpus=2))


def weights(run: Path, fold: int) -> dict[str, torch.Tensor]:
    return read_weights(weights_path(run, fold))[0]


def assert_same_run(run: Path, expected: Path) -> None:
    for fold in open_run(expected).trained:
        ours, theirs = weights(run, fold), weights(expected, fold)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("predictions.parquet", "metrics.json", "folds.parquet", "recipe.json"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name


def command(cache: Path, runs: Path, *options: str, word: str = "cv") -> list[str]:
    sets = [part for key in TRAINING_KEYS for part in ("--set", key)]
    folds = ["--folds", "2"] if word == "cv" else []
    given = ["--runs", str(runs), "--cache", str(cache), "--device", "cpu", *folds, *sets, *options]
    return [sys.executable, "-m", "magsd_cli", word, *given]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments, env=environment, **pipes)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    wait_for_any(path.parents[1], f"{path.parent.name}/{path.name}", process)


def wait_for_any(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_a_run_leaves(finished, cache):
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if not path.name.startswith(".")}
    for name in ("recipe.json", "provenance.json", "folds.parquet", "predictions.parquet", "metrics.json"):
        assert {name, f"{name}.sha256"} <= names
    for fold in (0, 1):
        for name in ("weights.safetensors", "history.parquet"):
            assert {f"fold{fold}/{name}", f"fold{fold}/{name}.sha256"} <= names
    assert not [name for name in names if "state" in name]
    for path in finished.rglob("*"):
        if path.is_file() and path.suffix != ".sha256" and not path.name.startswith("."):
            check_hash(path)
    history = pd.read_parquet(finished / "fold1/history.parquet")
    assert history["epoch"].tolist() == [1, 2]
    provenance = json.loads((finished / "provenance.json").read_text())
    assert provenance["cache"]["sha256"] in cache.name or provenance["cache"]["sha256"][:8] in cache.name
    assert provenance["sessions"][0]["threads"] == 1
    assert open_run(finished).complete
    assert find_newest_run(finished.parent) == finished


def test_each_image_is_tested_once_by_a_network_that_never_saw_its_patient(finished):
    table = read_table(finished / "predictions.parquet", OUT_OF_FOLD).to_pandas()
    folds = pd.read_parquet(finished / "folds.parquet").set_index("image_id")
    assert sorted(table["image_id"]) == sorted(f"image{i}" for i in range(12))
    assert (table.set_index("image_id")["fold"] == folds.loc[table["image_id"], "fold"]).all()
    assert (folds.groupby("patient_id")["fold"].nunique() == 1).all()
    assert table["path"].iloc[0].startswith("/xrays/")


def test_metrics_agree_with_scikit_learn(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    table = read_table(finished / "predictions.parquet", OUT_OF_FOLD).to_pandas()
    accuracies = []
    for row in metrics["folds"]:
        part = table[table["fold"] == row["fold"]]
        accuracies.append(sk.accuracy_score(part["label"], part["predicted"]))
        assert row["accuracy"] == pytest.approx(accuracies[-1])
        assert row["f1"] == pytest.approx(sk.f1_score(part["label"], part["predicted"], average="macro"))
        areas = [sk.roc_auc_score(part["label"] == name, part[f"p_{name}"]) for name in CLASSES]
        assert row["auc"] == pytest.approx(np.mean(areas))
    assert metrics["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert metrics["std"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    recall = sk.recall_score(table["label"], table["predicted"], average="macro")
    assert metrics["pooled"]["sensitivity"] == pytest.approx(recall)
    assert metrics["pooled"]["n"] == 12
    for metric in ("accuracy", "sensitivity", "auc"):
        low, high = metrics["pooled_intervals"][metric]
        assert low <= metrics["pooled"][metric] <= high


def test_the_same_command_again_has_nothing_to_do(finished, cache, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    again = cv(RunOptions(cache=cache, recipe=recipe(), runs=finished.parent, folds=2, device="cpu"))
    assert again == finished
    assert "nothing is left to do" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_side_by_side_gives_the_same_bits(side_by_side, finished):
    assert side_by_side.name == finished.name
    assert_same_run(side_by_side, finished)


def test_finished_folds_are_not_trained_again(side_by_side, finished, monkeypatch, capsys):
    (side_by_side / "metrics.json").unlink()
    monkeypatch.setattr("magsd_cli.training.run.train_fold", pytest.fail)
    assert (
        cv(RunOptions(cache=None, recipe=None, runs=side_by_side.parent, resume=side_by_side)) == side_by_side
    )
    assert "2 of 2 folds done already" in capsys.readouterr().err
    assert_same_run(side_by_side, finished)


def test_killed_and_started_again_gives_the_same_bits(finished, cache, tmp_path):
    process = start(command(cache, tmp_path))
    run = tmp_path / finished.name
    wait_for(state_path(run, 0), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "metrics.json").exists()
    assert cv(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, folds=2, device="cpu")) == run
    assert_same_run(run, finished)
    sessions = json.loads((run / "provenance.json").read_text())["sessions"]
    assert [session["end"] is None for session in sessions] == [True, False]


@pytest.mark.parametrize("what", ["write_weights", "write_parquet"])
def test_killed_between_the_files_of_the_last_epoch(finished, cache, tmp_path, monkeypatch, what):
    calls, real = [], getattr(fold_module, what)

    def dies_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return real(*arguments)

    monkeypatch.setattr(fold_module, what, dies_at_the_second)
    options = RunOptions(tmp_path, cache, recipe(), folds=2, device="cpu")
    with pytest.raises(RuntimeError):
        cv(options)
    monkeypatch.undo()
    assert_same_run(cv(options), finished)
    assert pd.read_parquet(tmp_path / finished.name / "fold0/history.parquet")["epoch"].tolist() == [1, 2]


def test_a_state_that_is_ahead_of_its_weights_writes_them_again(cache, tmp_path, monkeypatch):
    """Earlier versions wrote the state first: a kill left the weights and the history of an epoch before."""
    monkeypatch.setenv("MAGSD_KEEP_STATE", "1")
    finished = cv(RunOptions(tmp_path / "whole", cache, recipe(), folds=2, device="cpu"))
    run = tmp_path / finished.name
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("predictions*", "metrics*", "history*"))
    older = {name: torch.zeros_like(value) for name, value in weights(finished, 0).items()}
    write_weights(weights_path(run, 0), older, CLASSES)
    assert_same_run(cv(RunOptions(tmp_path, cache, recipe(), folds=2, device="cpu")), finished)
    ours, theirs = (pd.read_parquet(path / "fold0/history.parquet") for path in (run, finished))
    assert ours.equals(theirs)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_the_batch_and_a_second_start_continues(
    finished, cache, tmp_path, monkeypatch, number, code
):
    train_step = loop.train_step

    def signalled(*arguments):
        os.kill(os.getpid(), number)
        return train_step(*arguments)

    monkeypatch.setattr(loop, "train_step", signalled)
    with pytest.raises(Interrupted, match="run the same command again to continue") as stop:
        cv(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, folds=2, device="cpu"))
    assert stop.value.exit_code == code
    monkeypatch.undo()
    if number == signal.SIGTERM:
        assert_same_run(
            cv(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, folds=2, device="cpu")), finished
        )


@pytest.mark.sample
@pytest.mark.slow
def test_a_terminated_command_leaves_with_143(finished, cache, tmp_path):
    process = start(command(cache, tmp_path))
    wait_for(state_path(tmp_path / finished.name, 0), process)
    process.terminate()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert output == ""
    assert "run the same command again to continue" in errors.splitlines()[-1]
    assert "Traceback" not in errors


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.sample
@pytest.mark.slow
def test_a_killed_worker_is_started_once_more(finished, cache, tmp_path):
    process = start(command(cache, tmp_path, "--gpus", "2"))
    run = tmp_path / finished.name
    wait_for(state_path(run, 0), process)
    for pid in workers_of(process):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "starting it once more" in errors
    assert_same_run(run, finished)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_parent_takes_its_workers_along(cache, tmp_path, number):
    """Ctrl-C, as a terminal sends it, reaches all processes; the others only the parent."""
    process = start(command(cache, tmp_path, "--gpus", "2", "--set", "train.epochs=50"))
    wait_for_any(tmp_path, "*/fold0/state.pt", process)
    (run,) = tmp_path.glob("cv-*")
    workers = workers_of(process)
    for pid in (process.pid, *(workers if number == signal.SIGINT else ())):
        os.kill(pid, number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number], errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert read_state(state_path(run, 0)) is not None


def test_another_recipe_under_the_same_name_is_refused(finished, cache):
    with pytest.raises(ArtifactError, match=r"train\.lr 0\.01 -> 0\.02") as error:
        cv(
            RunOptions(
                cache=cache, recipe=recipe("train.lr=0.02"), runs=finished.parent, name=finished.name, folds=2
            )
        )
    assert error.value.exit_code == 5
    with pytest.raises(ArtifactError, match="fold_count 2 -> 3"):
        cv(RunOptions(cache=cache, recipe=recipe(), runs=finished.parent, name=finished.name, folds=3))


def test_another_recipe_with_resume_is_refused(finished):
    with pytest.raises(ArtifactError, match=r"train\.lr 0\.01 -> 0\.02"):
        cv(RunOptions(cache=None, recipe=recipe("train.lr=0.02"), runs=finished.parent, resume=finished))
    assert cv(RunOptions(cache=None, recipe=recipe(), runs=finished.parent, resume=finished)) == finished
    with pytest.raises(UsageError, match="magsd cv"):
        train(RunOptions(cache=None, recipe=None, runs=finished.parent, resume=finished))


def test_a_changed_folds_file_is_refused(finished, cache, tmp_path):
    run = tmp_path / finished.name
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("fold?", "metrics*", "predictions*"))
    data = (run / "folds.parquet").read_bytes()
    (run / "folds.parquet").write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    with pytest.raises(ArtifactError, match=r"folds\.parquet"):
        cv(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, folds=2, device="cpu"))


def test_a_second_run_on_the_same_output_is_refused_at_once(finished, cache):
    before = sorted(finished.rglob("*"))
    with lock(finished / ".lock"), pytest.raises(LockedError):
        cv(RunOptions(cache=cache, recipe=recipe(), runs=finished.parent, folds=2, device="cpu"))
    assert sorted(finished.rglob("*")) == before


@pytest.mark.parametrize(
    "key", ["image.size=128", "image.clahe=false", "image.clip_limit=2.0", "image.tiles=8"]
)
def test_images_that_the_cache_cannot_give_are_refused(cache, tmp_path, key):
    with pytest.raises(ArtifactError, match=key.split("=")[0].replace(".", r"\.")):
        cv(RunOptions(cache=cache, recipe=recipe(key), runs=tmp_path, folds=2))
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_be_built_leaves_nothing(cache, tmp_path):
    with pytest.raises((UsageError, ArtifactError)):
        cv(RunOptions(cache=cache, recipe=recipe("model.backbone=resnet17"), runs=tmp_path, folds=2))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_samples_table_is_noticed_before_training(tmp_path):
    path = write_tiny_cache(tmp_path / "cache")
    (table,) = path.parent.glob("*.samples.parquet")
    table.write_bytes(table.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"samples\.parquet"):
        cv(RunOptions(cache=path, recipe=recipe(), runs=tmp_path, folds=2, device="cpu"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["cache"]


def test_more_folds_than_patients_is_refused(cache, tmp_path):
    with pytest.raises(UsageError, match="--folds 5"):
        cv(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, folds=5))


def test_more_gpus_than_there_are_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="omit --gpus"):
        cv(RunOptions(cache=cache, recipe=recipe(), runs=tmp_path, gpus=2))
    assert list(tmp_path.iterdir()) == []


def test_train_holds_out_a_fifth_and_takes_smaller_images(tmp_path, capsys):
    """On a cache of 96 px whose patients are unknown, with the newest cache and the default name."""
    write_tiny_cache(tmp_path / "cache", size=96, patients=False)
    run = train(RunOptions(cache=None, recipe=recipe("train.epochs=1"), runs=tmp_path, device="cpu"))
    words = capsys.readouterr().err
    assert "the newest" in words
    assert "patients are unknown" in words
    table = read_table(run / "predictions.parquet", OUT_OF_FOLD)
    metrics = json.loads((run / "metrics.json").read_text())
    assert 3 <= len(table) <= 4
    assert len(metrics["folds"]) == 1
    assert metrics["mean"]["accuracy"] == metrics["folds"][0]["accuracy"]
    assert metrics["std"]["accuracy"] is None
    assert "unknown" in json.loads((run / "provenance.json").read_text())["patients"]


def test_divergence_keeps_the_run_and_says_what_to_try(cache, tmp_path):
    with pytest.raises(DivergedError, match=r"train\.lr"):
        cv(RunOptions(cache=cache, recipe=recipe("train.lr=1e30"), runs=tmp_path, folds=2, device="cpu"))
    assert not list(tmp_path.glob("*/metrics.json"))


def test_one_label_is_nothing_to_tell_apart(tmp_path):
    path = write_tiny_cache(tmp_path / "cache", count=3)
    with pytest.raises(NoInputError):
        cv(RunOptions(cache=path, recipe=recipe(), runs=tmp_path, folds=2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["model.name=resnet18"], "no attention maps; set train.step=plain"),
        (["model.name=inception_v3", "train.step=plain", "image.size=64"], "takes 75 px and more"),
    ],
)
def test_a_recipe_that_cannot_work_leaves_no_run(cache, tmp_path, settings, said):
    recipe = load_recipe("base", ["image.size=64", "model.weights=none", *settings])
    with pytest.raises(UsageError, match=said):
        cv(RunOptions(cache=cache, recipe=recipe, runs=tmp_path, folds=2, device="cpu"))
    assert not list(tmp_path.glob("cv-*"))
