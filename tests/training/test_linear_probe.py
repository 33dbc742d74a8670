"""`magsd cv` with a linear probe: an ordinary run, whose trunk is the one that it began with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import write_xrays

from magsd_cli.artifacts.checkpoints import read_state
from magsd_cli.artifacts.runs import history_path, open_run, state_path, weights_path
from magsd_cli.artifacts.tables import read_parquet
from magsd_cli.errors import UsageError
from magsd_cli.evaluation.results import read_results
from magsd_cli.inference.torch_engine import load_ensemble
from magsd_cli.models.build import build_model
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.runtime.device import WEIGHTS, generator_seed
from magsd_cli.settings import Preprocessing
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv

KEYS = ("model.name=linear_probe", "train.step=logistic_regression", "train.epochs=1", "image.size=64",
        "model.backbone=resnet18", "model.weights=none")  # fmt: skip


def test_a_run_of_logistic_regressions(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGSD_KEEP_STATE", "1")
    xrays = write_xrays(tmp_path / "xrays", 16)
    prepare(PrepareOptions([xrays], tmp_path / "runs", preprocessing=Preprocessing(64), workers=1))
    options = RunOptions(tmp_path / "runs", recipe=load_recipe("base", KEYS), folds=2, device="cpu")
    path = cv(options)
    results = read_results(path)
    assert results.predictions is not None
    assert len(results.predictions) == 16
    run = open_run(path)
    for network, fold in zip(load_ensemble(run).models, run.trained, strict=True):
        seed = generator_seed(run.recipe.seed, fold, 0, WEIGHTS)
        first = build_model(run.recipe.model, 2, seed).state_dict()
        changed = {key for key, value in network.state_dict().items() if not torch.equal(value, first[key])}
        assert changed == {"classifier.weight", "classifier.bias"}
        assert len(read_parquet(history_path(path, fold), "")) == 1
        state = read_state(state_path(path, fold))
        assert state is not None
        assert state["epoch"] == 1
    before = weights_path(path, 0).read_bytes()
    assert cv(options) == path  # nothing is left to do
    assert weights_path(path, 0).read_bytes() == before
    assert np.isfinite(results.predictions.probabilities).all()


@pytest.mark.parametrize("key", ["model.name=linear_probe", "train.step=logistic_regression"])
def test_network_and_step_go_together(key: str) -> None:
    with pytest.raises(UsageError, match="go together"):
        load_recipe("base", [key])
