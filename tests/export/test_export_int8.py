"""The gate of int8: what is as good out of fold passes, what is not is refused with its figures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny_onnx import tiny_onnx

from magsd_cli.errors import ArtifactError
from magsd_cli.export import export as room
from magsd_cli.export.export import in_words, quantize_run
from magsd_cli.inference.onnx_engine import open_session, run_session
from magsd_cli.metrics.predictions import Predictions

COUNT, CLASSES = 20, ("bright", "dark")
NETWORKS = {0: tiny_onnx(20.0), 1: tiny_onnx(20.0)}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A run of two folds on bright and dark images that its networks tell apart; what ranges are taken from.

    Quantizing is replaced by nothing at all; each test says what the networks become.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (COUNT, 1, 64, 64)).astype(np.uint8)
    images[::2] += 190
    images[:, 0, 0, 0] = np.arange(COUNT)  # which image it is
    ids, tested_in = tuple(f"image{i}" for i in range(COUNT)), np.arange(COUNT) // 2 % 2
    folds = pd.DataFrame({"image_id": ids, "fold": tested_in, "index": range(COUNT)})
    run = SimpleNamespace(
        classes=CLASSES, recipe=SimpleNamespace(image=SimpleNamespace(size=64)), folds=lambda: folds
    )
    scores = run_session(open_session(NETWORKS[0]), images, False).probabilities.astype(np.float64)
    tested = Predictions(ids, np.arange(COUNT) % 2, scores, tested_in, ("",) * COUNT, CLASSES)
    results = SimpleNamespace(run=run, predictions=tested, missing={})
    monkeypatch.setattr(room, "read_results", lambda _: results)
    monkeypatch.setattr(room, "read_cache", lambda _: SimpleNamespace(images=images))
    seen: list[np.ndarray] = []
    becomes(monkeypatch, None, seen)
    return seen


def becomes(monkeypatch: pytest.MonkeyPatch, other: bytes | None, seen: list[np.ndarray]) -> None:
    def quantize(data: bytes, images: np.ndarray) -> bytes:
        seen.append(images[:, 0, 0, 0])
        return other or data

    monkeypatch.setattr(room, "quantize", quantize)


def test_the_same_answers_pass(shown: list[np.ndarray]) -> None:
    networks, measured = quantize_run(Path("run"), NETWORKS, 0.01)
    assert networks == NETWORKS
    assert measured["fp32"] == measured["int8"] == {"accuracy": 1.0, "auc": 1.0}
    assert in_words(measured) == (
        "int8, out-of-fold accuracy 1.0000 -> 1.0000, auc 1.0000 -> 1.0000 on 20 images"
    )
    for fold, images in enumerate(shown):  # ranges are never taken from what is judged
        assert set(images // 2 % 2) == {1 - fold}


def test_a_fall_is_refused_with_its_figures(shown: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    becomes(monkeypatch, tiny_onnx(-20.0), shown)
    refusal = r"accuracy 1\.0000 -> 0\.0000, auc 1\.0000 -> 0\.0000 on 20 images, a fall of 0\.01"
    with pytest.raises(ArtifactError, match=refusal):
        quantize_run(Path("run"), NETWORKS, 0.01)
    with pytest.raises(ArtifactError, match="int8 is refused"):
        quantize_run(Path("run"), NETWORKS, 1.0)  # a fall by 1 is not less than 1


def test_without_the_cache_it_cannot_be_judged(
    shown: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    room.read_results(Path()).missing["cache"] = "the cache is gone"
    monkeypatch.setattr(room, "read_cache", lambda _: None)
    with pytest.raises(ArtifactError, match="the cache is gone; export without --int8"):
        quantize_run(Path("run"), NETWORKS, 0.01)
