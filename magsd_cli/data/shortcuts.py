"""Shortcuts: how well a class can be told from what holds no lung, by small classifiers, out of fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
BORDER = 1 / 12  # of the side: outside the lungs on any usual chest film
PLACES = 16  # patches along each side of the border
THUMBNAIL = 8


def border_features(images: Images) -> Floats:
    """Mean and spread of brightness in patches along the border: uint8 [N,1,S,S] -> [N, 8 * PLACES]."""
    width = max(2, round(images.shape[-1] * BORDER))
    pixels = images[:, 0].astype(np.float64) / 255
    strips = (pixels[:, :width], pixels[:, -width:], pixels[:, :, :width], pixels[:, :, -width:])
    features = []
    for number, strip in enumerate(strips):
        along = 2 if number < 2 else 1
        for part in np.array_split(strip, PLACES, axis=along):
            features += [part.mean(axis=(1, 2)), part.std(axis=(1, 2))]
    return np.stack(features, axis=1)


def thumbnail_features(images: Images) -> Floats:
    """Each image as 8x8 pixels, uint8 [N,1,S,S] -> [N, 64]: exposure, pose and cropping, no lesion."""
    size = (THUMBNAIL, THUMBNAIL)
    small = [cv2.resize(image[0], size, interpolation=cv2.INTER_AREA).reshape(-1) for image in images]
    return np.asarray(small, np.float64) / 255


def out_of_fold(features: Floats, labels: npt.ArrayLike, folds: npt.ArrayLike, classes: int) -> Floats | None:
    """Probabilities [N,K] of a logistic regression on `features` [N,F], each fold by the others' classifier.

    labels: class numbers [N]; folds [N]. None where a class is missing from a training part.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    truth, parts = np.asarray(labels, np.int64), np.asarray(folds)
    result = np.zeros((len(truth), classes))
    if len(np.unique(parts)) < 2:
        return None
    for fold in np.unique(parts):
        own = parts == fold
        if len(np.unique(truth[~own])) < classes:
            return None
        model: Any = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
        result[own] = model.fit(features[~own], truth[~own]).predict_proba(features[own])
    return result


VIEWS: dict[str, Callable[[Images], Floats]] = {
    "the border of the picture alone": border_features,
    "an 8x8 thumbnail": thumbnail_features,
}
