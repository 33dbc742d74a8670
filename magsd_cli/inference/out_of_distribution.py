"""Does a picture look like the images that a network was trained on?

A prepared picture becomes 304 numbers: a standardised 16x16 thumbnail (how the brightness is laid out: two
dark lungs, a bright middle) and the detail at three scales in 4x4 places (how rough it is where). Principal
components of the training images' numbers say how far a new picture is: inside the plane of their variation
by Mahalanobis' distance, and away from it (as in probabilistic PCA; Tipping and Bishop, J. R. Stat. Soc. B
61, 1999).

The pixels and not the network's features are measured because that worked better (docs/trust.md), and the
same numbers come out whatever runs the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
SIDE = 112  # every picture is brought to it first, so that a cache's size changes little
THUMBNAIL = 16
PLACES = 4
BLURS = (0.5, 1.0, 2.0, 4.0)  # standard deviations in pixels; each two neighbours enclose a scale
COMPONENTS = 24
IMAGES_PER_COMPONENT = 6  # a plane of more dimensions would fit the images that it was made of too well
_FLAT = 0.02  # of the full range: below it a thumbnail has no contrast to be divided by
_FAINT = 1e-3


@dataclass(frozen=True)
class TrainingDistribution:
    """The plane of the training images' variation, in features of mean 0 and deviation 1.

    mean, scale [F]; components [Q,F], orthonormal; variances [Q] along them; residual: the mean squared
    distance from the plane.
    """

    mean: Floats = field(repr=False)
    scale: Floats = field(repr=False)
    components: Floats = field(repr=False)
    variances: Floats = field(repr=False)
    residual: float


def appearance_features(images: Images) -> Floats:
    """Prepared pictures uint8 [N,1,S,S] -> [N, 304]: thumbnail, then detail by scale and place."""
    return np.array([_features(image[0]) for image in images]).reshape(len(images), FEATURES)


FEATURES = THUMBNAIL**2 + (len(BLURS) - 1) * PLACES**2


def _features(image: Images) -> Floats:
    picture = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    thumbnail = cv2.resize(picture, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    standard = (thumbnail - thumbnail.mean()) / max(float(thumbnail.std()), _FLAT)
    blurred = [cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in BLURS]
    detail = [
        cv2.resize(np.abs(fine - coarse), (PLACES, PLACES), interpolation=cv2.INTER_AREA).ravel()
        for fine, coarse in pairwise(blurred)
    ]
    return np.concatenate([standard, np.log(np.concatenate(detail) + _FAINT)]).astype(np.float64)


def fit_appearance(features: Floats) -> TrainingDistribution:
    """The plane of `features` [N,F] of training images: at most 24 dimensions, one for each 6 images.

    Raises `ValueError` for fewer than two images.
    """
    if len(features) < 2:
        raise ValueError("two images at least are needed to say how images vary")
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - mean) / scale
    variances, vectors = np.linalg.eigh(standard.T @ standard / len(standard))  # ascending
    count = max(1, min(COMPONENTS, len(features) // IMAGES_PER_COMPONENT))
    residual = float(variances[:-count].sum())
    kept = np.maximum(variances[::-1][:count], 1e-9)
    return TrainingDistribution(mean, scale, vectors.T[::-1][:count].copy(), kept, max(residual, 1e-9))


def distance(appearance: TrainingDistribution, features: Floats) -> Floats:
    """Measure how far `features` [N,F] are from the training images, [N]: 1 is their own average.

    The mean of two ratios: Mahalanobis' distance squared in the plane over its dimensions, and the squared
    distance from the plane over that of the training images.
    """
    standard = (features - appearance.mean) / appearance.scale
    along = standard @ appearance.components.T
    inside = (along**2 / appearance.variances).mean(axis=1)
    away = np.maximum((standard**2).sum(axis=1) - (along**2).sum(axis=1), 0) / appearance.residual
    result: Floats = (inside + away) / 2
    return result


def cross_fitted_distance(features: Floats, folds: npt.ArrayLike) -> Floats | None:
    """The `distance` [N] of each fold's images from the appearance of the others'; folds: [N].

    None where a fold leaves fewer than two images to the others.
    """
    parts = np.asarray(folds)
    result = np.zeros(len(features))
    for fold in np.unique(parts):
        own = parts == fold
        if (~own).sum() < 2:
            return None
        result[own] = distance(fit_appearance(features[~own]), features[own])
    return result


def appearance_to_values(appearance: TrainingDistribution) -> dict[str, Any]:
    """Return plain values for JSON, of five digits."""
    return {
        "mean": _rounded(appearance.mean),
        "scale": _rounded(appearance.scale),
        "components": [_rounded(row) for row in appearance.components],
        "variances": _rounded(appearance.variances),
        "residual": appearance.residual,
    }


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def appearance_from_values(values: Mapping[str, Any]) -> TrainingDistribution:
    """Read the values of `appearance_to_values`. Raises `KeyError` or `ValueError` for others."""
    mean, scale = (np.array(values[name], np.float64) for name in ("mean", "scale"))
    components, variances = (np.array(values[name], np.float64) for name in ("components", "variances"))
    if mean.shape != (FEATURES,) or scale.shape != mean.shape:
        raise ValueError(f"an appearance has {FEATURES} features")
    if components.shape != (len(variances), FEATURES):
        raise ValueError("an appearance has as many variances as components")
    return TrainingDistribution(mean, scale, components, variances, float(values["residual"]))
