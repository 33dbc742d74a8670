"""cv and predict on a Ray cluster of two local nodes, one of which is killed: nothing is lost or doubled."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tiny_cache import write_tiny_cache
from tiny_onnx import tiny_onnx

from magsd_cli.artifacts.checkpoints import read_weights
from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.artifacts.runs import state_path, weights_path
from magsd_cli.errors import UsageError
from magsd_cli.recipe import load_recipe
from magsd_cli.runtime.cluster import connected
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv

KEYS = (
    "model.backbone=resnet18", "model.weights=none", "model.attention_maps=4", "image.size=64",
    "train.batch_size=6", "train.epochs=4", "train.lr=0.01", 'train.augment=["mixup"]',
)  # fmt: skip
HEAD: dict[str, Any] = {
    "name": "deployed", "version": "0", "model_sha256": "a" * 64, "classes": ["a", "b"], "size": 64,
    "cache_size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {}, "recipe_sha256": "",
    "trained_on": None,
}  # fmt: skip


def test_without_ray_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install '\.\[ray\]'"), connected("auto"):
        pass


def test_ray_shares_out_by_itself(tmp_path):
    with pytest.raises(UsageError, match="omit --gpus and --parallel"):
        cv(RunOptions(cache=None, recipe=load_recipe("base"), runs=tmp_path, gpus=2, cluster="auto"))


@pytest.fixture
def two_nodes() -> Iterator[tuple[Any, list[Any]]]:
    """A head that takes no tasks, and two nodes of one core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster, nodes
    cluster.shutdown()


def start(cluster: Any, *given: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "magsd_cli", *given, "--cluster", cluster.address]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for(paths: list[Path], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not all(path.exists() for path in paths):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
def test_a_killed_node_s_fold_goes_on_elsewhere(two_nodes, tmp_path):
    cluster, nodes = two_nodes
    cache = write_tiny_cache(tmp_path / "cache", count=24)
    sets = [part for key in KEYS for part in ("--set", key)]
    given = ("--cache", str(cache), "--folds", "2", "--name", "run", *sets)
    process = start(cluster, "cv", "--runs", str(tmp_path / "ray"), *given)
    run = tmp_path / "ray" / "run"
    wait_for([state_path(run, 0), state_path(run, 1)], process)
    assert not (run / "fold0/predictions.parquet").exists()
    cluster.remove_node(nodes[1], allow_graceful=False)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    torch.set_num_threads(1)
    alone = cv(
        RunOptions(
            cache=cache,
            recipe=load_recipe("base", KEYS),
            runs=tmp_path / "one",
            folds=2,
            name="run",
            device="cpu",
        )
    )
    for fold in (0, 1):
        ours, theirs = (read_weights(weights_path(path, fold))[0] for path in (run, alone))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("predictions.parquet", "metrics.json", "folds.parquet"):
        assert (run / name).read_bytes() == (alone / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(900)
def test_a_killed_node_loses_no_row_and_doubles_none(two_nodes, tmp_path):
    cluster, nodes = two_nodes
    write_model_file(tmp_path / "model.magsd", HEAD, {0: tiny_onnx(3.0)})
    (tmp_path / "xrays").mkdir()
    for number in range(600):
        path = tmp_path / "xrays" / f"{number:03}.png"
        pixels = np.random.default_rng(number).integers(0, 100 + number % 100, (500, 500), dtype=np.uint8)
        cv2.imwrite(str(path), pixels)
        if number % 50 == 7:
            path.write_bytes(path.read_bytes()[:1000])
    given = ("predict", str(tmp_path / "xrays"), "--model", str(tmp_path / "model.magsd"), "--out")
    process = start(cluster, *given, str(tmp_path / "ray.parquet"))
    wait_for([tmp_path / ".ray.parquet.partial"], process)
    cluster.remove_node(nodes[1], allow_graceful=False)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 3, errors
    one = [sys.executable, "-m", "magsd_cli", *given, str(tmp_path / "one.parquet")]
    subprocess.run(one, check=False, capture_output=True)
    ours, theirs = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("ray", "one"))
    assert len(ours) == 600
    assert (ours["status"] == "ok").sum() == 588
    pd.testing.assert_frame_equal(ours, theirs)
