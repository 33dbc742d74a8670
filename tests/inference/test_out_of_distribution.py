"""What looks like the training images and what does not: phantoms of chests against everything else."""

from __future__ import annotations

import json

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.inference.out_of_distribution import (
    FEATURES,
    TrainingDistribution,
    appearance_features,
    appearance_from_values,
    appearance_to_values,
    cross_fitted_distance,
    distance,
    fit_appearance,
)
from magsd_cli.settings import Preprocessing
from magsd_cli.tools.phantoms import draw_phantom

SIDE = 96


def chests(count: int, seed: int) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    films = [draw_phantom(("Normal", "COVID-19")[n % 2], rng, SIDE)[0] for n in range(count)]
    return prepared(films)


def prepared(films: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    return np.stack([prepare_pixels(np.ascontiguousarray(f), Preprocessing(SIDE)) for f in films])[:, None]


@pytest.fixture(scope="module")
def trained() -> TrainingDistribution:
    return fit_appearance(appearance_features(chests(150, 0)))


def far(trained: TrainingDistribution, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return distance(trained, appearance_features(images))


def test_new_chests_are_near_and_other_pictures_far(trained: TrainingDistribution) -> None:
    new = chests(60, 1)
    limit = np.quantile(far(trained, new), 0.95)
    assert 0.5 < far(trained, new).mean() < 3
    rng = np.random.default_rng(2)
    films = [draw_phantom("Normal", rng, SIDE)[0] for _ in range(10)]
    ramp = np.tile(np.linspace(0, 255, SIDE), (SIDE, 1)).astype(np.uint8)
    others = {
        "noise": [rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8) for _ in range(10)],
        "blank": [np.full((SIDE, SIDE), value, np.uint8) for value in range(0, 250, 25)],
        "gradients": [ramp, ramp.T, 255 - ramp, 255 - ramp.T],
        "inverted": [255 - film for film in films],
        "turned": [np.rot90(film, k) for film in films for k in (1, 2, 3)],
        "blobs": [
            cv2.resize(some, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            for some in rng.integers(0, 256, (10, 7, 7), dtype=np.uint8)
        ],
    }  # fmt: skip
    for name, pictures in others.items():
        assert (far(trained, prepared(pictures)) > limit).all(), name


def test_the_distance_is_its_formula() -> None:
    """Two dimensions in the plane of all the variation, against the inverse of the covariance."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(40, 2)) @ np.array([[2.0, 0.3], [0.0, 0.5]]) + [1.0, -2.0]
    wide = np.hstack([features, rng.normal(size=(40, FEATURES - 2)) * 1e-9])
    wide[:, 2:] = 0
    appearance = fit_appearance(wide)
    assert len(appearance.variances) == 40 // 6
    point = np.zeros((1, FEATURES))
    point[0, :2] = [3.0, 1.0]
    difference = point[0, :2] - features.mean(axis=0)
    squared = difference @ np.linalg.inv(np.cov(features.T, bias=True)) @ difference
    kept = appearance.variances > 1e-6
    along = ((point - appearance.mean) / appearance.scale) @ appearance.components.T
    assert (along[0, kept] ** 2 / appearance.variances[kept]).sum() == pytest.approx(squared, rel=1e-4)
    # Ratios to the training images' own means: both halves are 1 on average there, and so is their mean.
    real = appearance_features(chests(60, 9))
    assert distance(fit_appearance(real), real).mean() == pytest.approx(1, abs=1e-6)


def test_a_fold_is_judged_by_the_others(trained: TrainingDistribution) -> None:
    features = appearance_features(chests(30, 5))
    folds = np.arange(30) % 3
    found = cross_fitted_distance(features, folds)
    assert found is not None
    expected = distance(fit_appearance(features[folds != 1]), features[folds == 1])
    assert found[folds == 1] == pytest.approx(expected)
    assert found.mean() > distance(fit_appearance(features), features).mean()
    assert cross_fitted_distance(features, np.zeros(30)) is None


def test_it_survives_json(trained: TrainingDistribution) -> None:
    images = chests(5, 6)
    again = appearance_from_values(json.loads(json.dumps(appearance_to_values(trained))))
    assert far(again, images) == pytest.approx(far(trained, images), rel=1e-3)
    broken = appearance_to_values(trained) | {"variances": [1.0]}
    with pytest.raises(ValueError, match="variances"):
        appearance_from_values(broken)
    with pytest.raises(ValueError, match="two images"):
        fit_appearance(np.zeros((1, FEATURES)))


def test_the_size_of_the_cache_changes_little(trained: TrainingDistribution) -> None:
    large = chests(10, 7)
    small = np.stack([cv2.resize(i[0], (80, 80), interpolation=cv2.INTER_AREA) for i in large])[:, None]
    assert far(trained, small) == pytest.approx(far(trained, large), rel=0.6)


def test_no_picture() -> None:
    assert appearance_features(np.zeros((0, 1, 64, 64), np.uint8)).shape == (0, FEATURES)
