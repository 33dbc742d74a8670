"""ONNX Runtime gives torch's answers, and the model file is whole or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny_onnx import tiny_onnx
from torch import nn

from magsd_cli.artifacts.model_file import open_model_file, read_network, write_model_file
from magsd_cli.errors import ArtifactError
from magsd_cli.export import onnx_network
from magsd_cli.export.onnx_network import export_network
from magsd_cli.inference.onnx_engine import OnnxEnsemble, open_session, predict_onnx
from magsd_cli.inference.torch_engine import Ensemble, predict_images
from magsd_cli.models.build import build_model
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Preprocessing

HEAD: dict[str, Any] = {
    "name": "run", "version": "0", "model_sha256": "0" * 64, "classes": ["a", "b"], "size": 64,
    "cache_size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4, "recipe": {}, "recipe_sha256": "0" * 64,
    "trained_on": {"f" * 64: 1},
}  # fmt: skip


def _images(count: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, size, size), dtype=np.uint8)


def _ensemble(*slopes: float) -> OnnxEnsemble:
    sessions = tuple(open_session(tiny_onnx(slope)) for slope in slopes)
    return OnnxEnsemble(sessions, 64, tuple(range(len(slopes))))


def test_the_mean_over_networks_by_hand() -> None:
    bright = np.full((1, 1, 64, 64), 255, np.uint8)
    found = predict_onnx(_ensemble(2 * np.log(3.0), 0.0), bright, with_attention=True)
    # softmax([ln 3, 0]) = [3/4, 1/4]; softmax([0, 0]) = [1/2, 1/2]; mean [5/8, 3/8]
    np.testing.assert_allclose(found.probabilities, [[0.625, 0.375]], atol=1e-6)
    np.testing.assert_allclose(found.attention, np.ones((1, 2, 2)))
    assert predict_onnx(_ensemble(1.0), bright).attention is None


def test_a_row_is_the_same_bits_in_any_batch_and_larger_images_are_resized() -> None:
    ensemble, images = _ensemble(1.0, -2.0), _images(5)
    together = predict_onnx(ensemble, images).probabilities
    alone = np.concatenate([predict_onnx(ensemble, image[None]).probabilities for image in images])
    np.testing.assert_array_equal(together, alone)
    doubled = images.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(predict_onnx(ensemble, doubled).probabilities, together)
    with pytest.raises(ValueError, match="side 32"):
        predict_onnx(ensemble, _images(1, 32))


def test_only_some_folds_and_no_attention() -> None:
    ensemble = _ensemble(1.0, 5.0)
    assert ensemble.only([1]).sessions == ensemble.sessions[1:]
    blind = OnnxEnsemble((open_session(tiny_onnx(attention=False)),), 64, (0,))
    assert predict_onnx(blind, _images(1), with_attention=True).attention is None


def test_a_model_file_from_before_the_class_aware_map_still_answers() -> None:
    older = predict_onnx(_ensemble(1.0, 2.0), _images(2), with_attention=True)
    assert older.attention is not None
    assert older.class_maps is None


def test_what_is_no_network_and_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ArtifactError, match="cannot open"):
        open_session(b"no network")
    broken = OnnxEnsemble((open_session(tiny_onnx(float("nan"))),), 64, (0,))
    with pytest.raises(ArtifactError, match="not finite"):
        predict_onnx(broken, _images(1))


class _Output(NamedTuple):
    logits: torch.Tensor
    attention: torch.Tensor | None
    class_maps: torch.Tensor | None = None


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 5, stride=8)

    def forward(self, images: torch.Tensor) -> _Output:
        maps = self.conv(images).relu()
        return _Output(maps.mean(dim=(2, 3)), maps)


@pytest.fixture(scope="module")
def magsd() -> tuple[nn.Module, bytes]:
    settings = load_recipe("base", ["model.backbone=resnet18", "model.weights=none"]).model
    network = build_model(settings, 3, 0).eval()
    return network, export_network(network, _images(3))


def test_the_magsd_network_gives_the_same_from_both_engines(magsd: tuple[nn.Module, bytes]) -> None:
    network, data = magsd
    images = _images(4)
    torch_says = predict_images(Ensemble((network,), ("a", "b", "c"), 64), images, 1, with_attention=True)
    onnx_says = predict_onnx(OnnxEnsemble((open_session(data),), 64, (0,)), images, with_attention=True)
    np.testing.assert_allclose(onnx_says.probabilities, torch_says.probabilities, atol=1e-5)
    np.testing.assert_allclose(onnx_says.attention, torch_says.attention, atol=1e-3)
    assert torch_says.class_maps is not None
    assert torch_says.class_maps.shape == (4, 3, 2, 2)
    np.testing.assert_allclose(onnx_says.class_maps, torch_says.class_maps, atol=1e-4)
    # Their sums are the logits: probabilities follow from the maps alone.
    logits = onnx_says.class_maps.sum(axis=(2, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, onnx_says.probabilities, atol=1e-4)
    silent = predict_onnx(OnnxEnsemble((open_session(data),), 64, (0,)), images)
    assert silent.class_maps is None
    np.testing.assert_array_equal(silent.probabilities, onnx_says.probabilities)


def test_an_export_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_network, "_export", lambda *_: tiny_onnx())
    torch.manual_seed(0)
    network = _Small().eval()
    network.conv.out_channels = 2
    network.conv = nn.Conv2d(1, 2, 5, stride=8)
    with pytest.raises(ArtifactError, match="differ from torch's by"):
        export_network(network.eval(), _images(2))
    with pytest.raises(ValueError, match="eval mode"):
        export_network(network.train(), _images(2))


def test_a_model_file_comes_back_and_is_the_same_bytes_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.magsd"
    write_model_file(path, HEAD, {0: tiny_onnx(1.0), 1: tiny_onnx(2.0)})
    model = open_model_file(path)
    assert (model.classes, model.size, model.preprocessing) == (("a", "b"), 64, Preprocessing(64))
    assert model.trained_on == {"f" * 64: 1}
    assert [read_network(model, fold) for fold in (0, 1)] == [tiny_onnx(1.0), tiny_onnx(2.0)]
    write_model_file(tmp_path / "y.magsd", HEAD, {0: tiny_onnx(1.0), 1: tiny_onnx(2.0)})
    assert path.read_bytes() == (tmp_path / "y.magsd").read_bytes()


def test_flipped_bits_never_change_a_model(tmp_path: Path) -> None:
    """A flip is refused, or it fell where nothing is read from (a zip's dates and flags)."""
    path = tmp_path / "x.magsd"
    write_model_file(path, HEAD, {0: tiny_onnx()})
    data, whole = path.read_bytes(), open_model_file(path)
    refused = 0
    for position in np.random.default_rng(0).choice(len(data) * 8, 300, replace=False):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            model = open_model_file(path)
            assert model == whole
            assert read_network(model, 0) == tiny_onnx()
        except ArtifactError:
            refused += 1
    assert refused > 250


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 100])
def test_what_is_no_model_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.magsd").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.json is missing or damaged"):
        open_model_file(tmp_path / "x.magsd")
    with pytest.raises(ArtifactError, match="no such model"):
        open_model_file(tmp_path / "gone.magsd")


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    write_model_file(tmp_path / "x.magsd", HEAD, {})
    from magsd_cli.artifacts import model_file as deployed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployed, "SCHEMA_VERSION", 0)
        with pytest.raises(ArtifactError, match="newer magsd"):
            open_model_file(tmp_path / "x.magsd")
