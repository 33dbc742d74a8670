"""One training by torchrun on two "nodes" of this machine: the run that two local processes make."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_cache import write_tiny_cache

from magsd_cli.artifacts.checkpoints import read_weights
from magsd_cli.artifacts.runs import weights_path
from magsd_cli.recipe import load_recipe
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import train

KEYS = (
    "model.backbone=resnet18", "model.weights=none", "model.attention_maps=4", "image.size=64",
    "train.batch_size=6", "train.epochs=2", "train.lr=0.01", 'train.augment=["mixup"]',
)  # fmt: skip


def node(port: int, *given: str) -> subprocess.Popen[str]:
    launcher = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    place = ["--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, *place, "-m", "magsd_cli", *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def together(*given: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of both nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [node(port, *given) for _ in range(2)]
    said = [process.communicate(timeout=400) for process in nodes]
    return [(process.returncode, *words) for process, words in zip(nodes, said, strict=True)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_train_what_two_processes_train(tmp_path: Path) -> None:
    cache = write_tiny_cache(tmp_path / "cache", count=24)
    sets = [part for key in KEYS for part in ("--set", key)]
    given = ("--runs", str(tmp_path / "nodes"), "train", "--cache", str(cache), "--device", "cpu")
    ended = together(*given, "--name", "run", *sets)
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert sorted(output.strip() for _, output, _ in ended) == ["", str(tmp_path / "nodes/run")]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    local = train(
        RunOptions(
            cache=cache, recipe=load_recipe("base", KEYS), runs=tmp_path, name="run", device="cpu", gpus=2
        )
    )
    torch.set_num_threads(before)
    ours, theirs = (read_weights(weights_path(path, 0))[0] for path in (tmp_path / "nodes/run", local))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("predictions.parquet", "metrics.json", "folds.parquet"):
        assert (tmp_path / "nodes/run" / name).read_bytes() == (local / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_error_is_said_once(tmp_path: Path) -> None:
    cache = write_tiny_cache(tmp_path / "cache", count=24)
    given = ("--runs", str(tmp_path), "train", "--cache", str(cache), "--device", "cpu")
    bad = ("--set", "image.size=64", "--set", "model.weights=none", "--set", "model.backbone=resnet17")
    ended = together(*given, *bad)
    assert all(code != 0 for code, _, _ in ended)
    lines = [line for _, _, errors in ended for line in errors.splitlines() if "magsd: error" in line]
    assert len(lines) == 1, lines
