from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from magsd_cli.evaluation.shortcuts import (
    border_features,
    chest_region,
    lungless_features,
    out_of_fold,
    thumbnail_features,
)


def _images(count: int = 90, size: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    return (
        rng.integers(60, 190, (count, 1, size, size)).astype(np.uint8),
        np.arange(count) % 3,
        np.arange(count) // 3 % 5,
    )


def _lungless(images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return lungless_features(images, chest_region(None, images.shape[-1]))


def test_features_have_their_shapes() -> None:
    images, _, _ = _images(4)
    assert border_features(images).shape == (4, 128)
    assert thumbnail_features(images).shape == (4, 64)


def test_the_border_sees_nothing_of_the_middle() -> None:
    images, _, _ = _images(4)
    changed = images.copy()
    changed[:, :, 8:-8, 8:-8] = 0
    np.testing.assert_array_equal(border_features(images), border_features(changed))


def test_without_lungs_nothing_of_the_region_is_seen() -> None:
    images, _, _ = _images(4)
    region = chest_region(None, 48)
    changed = images.copy()
    changed[:, 0, region] = 0
    np.testing.assert_array_equal(lungless_features(images, region), lungless_features(changed, region))
    changed[:, 0, ~region] = 0
    assert not lungless_features(changed, region).any()
    assert lungless_features(images, region).shape[0] == 4


def test_the_region_is_where_lungs_often_are() -> None:
    lungs = np.zeros((40, 48, 48), np.uint8)
    lungs[:, 10:30, 10:20] = 255
    lungs[0, 40:, 40:] = 255  # one mask that was drawn somewhere else
    region = chest_region(lungs, 48)
    assert region[10:30, 10:20].all()
    assert region[9, 12]
    assert not region[:, 24:].any()
    middle = chest_region(None, 48)
    assert 0.6 < middle.mean() < 0.8
    assert middle[24, 24]
    assert not middle[0].any()
    assert not middle[:, 0].any()


def test_a_marker_in_the_corner_is_found_and_noise_is_not() -> None:
    images, labels, folds = _images()
    for features in (border_features, thumbnail_features, _lungless):
        noise = out_of_fold(features(images), labels, folds, 3)
        assert noise is not None
        assert roc_auc_score(labels, noise, multi_class="ovr") < 0.7
    images[labels == 1, :, :4, :4] = 255
    marked = out_of_fold(border_features(images), labels, folds, 3)
    assert marked is not None
    assert roc_auc_score(labels == 1, marked[:, 1]) > 0.95


def test_one_fold_or_a_missing_class_gives_nothing() -> None:
    images, labels, _ = _images(30)
    features = thumbnail_features(images)
    assert out_of_fold(features, labels, np.zeros(30), 3) is None
    assert out_of_fold(features, labels, labels, 3) is None
