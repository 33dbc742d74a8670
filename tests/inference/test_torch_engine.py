"""The one prediction path: mean of the networks' softmax, whatever the batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from magsd_cli.errors import ArtifactError
from magsd_cli.inference.torch_engine import BATCH_TOLERANCE, Ensemble, predict_images


class _Output(NamedTuple):
    logits: torch.Tensor
    attention: torch.Tensor | None
    class_maps: torch.Tensor | None = None


class _Constant(nn.Module):
    """Gives the same logits for every image, and attention maps that differ by a known amount."""

    def __init__(self, logits: list[float], attention: float | None = None) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))
        self.attention = attention

    def forward(self, images: torch.Tensor) -> _Output:
        count = len(images)
        maps = None
        if self.attention is not None:  # two maps: the value and three times the value
            maps = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1).expand(count, 2, 2, 2) * self.attention
        return _Output(self.logits.expand(count, -1), maps)


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2)
        )
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> _Output:
        maps = self.features(images).relu()
        return _Output(self.head(maps.mean(dim=(2, 3))), maps)


def _ensemble(*models: nn.Module, classes: int = 2, size: int = 64) -> Ensemble:
    return Ensemble(models, tuple("abc"[:classes]), size, folds=tuple(range(len(models))))


def _images(count: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, size, size), dtype=np.uint8)


def _small(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return _Small()


def test_probabilities_are_the_mean_of_the_softmaxes() -> None:
    # softmax([0, ln 3]) = [1/4, 3/4]; softmax([0, 0]) = [1/2, 1/2]; mean [3/8, 5/8]
    found = predict_images(_ensemble(_Constant([0.0, np.log(3.0)]), _Constant([0.0, 0.0])), _images(3))
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities, [[0.375, 0.625]] * 3, atol=1e-7)
    assert found.attention is None


def test_attention_is_the_mean_over_maps_and_networks() -> None:
    # maps 1 and 3 times the value: mean 2v; over v = 1 and v = 2: 3
    ensemble = _ensemble(_Constant([0.0, 1.0], 1.0), _Constant([0.0, 1.0], 2.0))
    found = predict_images(ensemble, _images(2), with_attention=True)
    np.testing.assert_allclose(found.attention, np.full((2, 2, 2), 3.0))
    assert found.attention is not None
    assert found.attention.dtype == np.float32


def test_a_network_without_attention_gives_none() -> None:
    ensemble = _ensemble(_Constant([0.0, 1.0], 1.0), _Constant([0.0, 1.0]))
    assert predict_images(ensemble, _images(2), with_attention=True).attention is None


@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 16])
def test_a_row_does_not_depend_on_its_batch(batch_size: int) -> None:
    ensemble, images = _ensemble(_small(1), _small(2), classes=3), _images(7)
    alone = np.concatenate([predict_images(ensemble, images[i : i + 1]).probabilities for i in range(7)])
    together = predict_images(ensemble, images, batch_size=batch_size).probabilities
    np.testing.assert_allclose(together, alone, atol=BATCH_TOLERANCE)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)


def test_networks_are_put_into_eval_mode() -> None:
    model = _small(1)
    model.train()
    _ensemble(model, classes=3)
    assert not model.training


def test_larger_images_are_area_resized_to_the_networks_size() -> None:
    ensemble = _ensemble(_small(1), classes=3, size=64)
    small = _images(2, 64)
    doubled = small.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_allclose(
        predict_images(ensemble, doubled).probabilities,
        predict_images(ensemble, small).probabilities,
        atol=1e-6,
    )


def test_brightness_and_scale_do_not_matter() -> None:
    """The z-score is inside the path: a + b*image scores as the image."""
    ensemble = _ensemble(_small(1), classes=3)
    image = (_images(1) // 4).astype(np.uint8)
    np.testing.assert_allclose(
        predict_images(ensemble, (image * 2 + 10).astype(np.uint8)).probabilities,
        predict_images(ensemble, image).probabilities,
        atol=1e-5,
    )


def test_no_images_give_no_rows() -> None:
    assert predict_images(_ensemble(_small(1), classes=3), _images(0)).probabilities.shape == (0, 3)


def test_wrong_images_are_refused() -> None:
    ensemble = _ensemble(_small(1), classes=3)
    with pytest.raises(ValueError, match="uint8"):
        predict_images(ensemble, _images(1).astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="side 32"):
        predict_images(ensemble, _images(1, 32))


def test_non_finite_outputs_are_an_error() -> None:
    with pytest.raises(ArtifactError, match="not finite"):
        predict_images(_ensemble(_Constant([0.0, float("nan")])), _images(1))


def test_only_some_folds() -> None:
    first, second = _Constant([0.0, 0.0]), _Constant([0.0, 1.0])
    chosen = _ensemble(first, second).only([1])
    assert chosen.models == (second,)
    assert chosen.folds == (1,)
    with pytest.raises(ValueError, match="not in tuple"):
        chosen.only([5])


def test_an_ensemble_needs_networks() -> None:
    with pytest.raises(ValueError, match="at least one network"):
        _ensemble()
    with pytest.raises(ValueError, match="fold numbers"):
        Ensemble((_small(1),), ("a", "b", "c"), 64, folds=(0, 1))
