"""Shortcuts: how well a class can be told from what holds no lung, by small classifiers, out of fold."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
BORDER = 1 / 12  # of the side: outside the lungs on any usual chest film
PLACES = 16  # patches along each side of the border
THUMBNAIL = 8
CELLS = 12  # along each side, of what is left when the lungs are removed
OFTEN = 0.05  # of the lung masks that must have a place, for it to be removed everywhere
LEFT = 0.25  # of a cell that must be left, for the cell to count


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


def chest_region(lungs: Images | None, size: int) -> npt.NDArray[np.bool_]:
    """Where lungs are on films of this kind, bool [S,S]: one region for all images, so that its shape says
    nothing about one of them.

    lungs: masks uint8 [M,S,S] of the lungs of some images; the region is where one in twenty of them has
    lung, a little widened. Without masks it is the middle of the picture: a rounded rectangle over 88% of its
    width and 84% of its height.
    """
    if lungs is None or len(lungs) == 0:
        axis = (np.arange(size) + 0.5) / size
        x, y = np.meshgrid((axis - 0.5) / 0.44, (axis - 0.46) / 0.42)
        return np.asarray(x**6 + y**6 <= 1, bool)
    often = ((lungs > 0).mean(axis=0) >= OFTEN).astype(np.uint8)
    width = 2 * max(1, round(size / 40)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    return np.asarray(cv2.dilate(often, kernel) > 0, bool)


def lungless_features(images: Images, region: npt.NDArray[np.bool_]) -> Floats:
    """Mean and spread of brightness outside `region` bool [S,S], in cells: uint8 [N,1,S,S] -> [N, 2 C].

    C: the cells of which a quarter or more lies outside. No pixel of the region enters.
    """
    outside = (~region).astype(np.float32)
    share = _cells(outside)
    kept = share >= LEFT
    rows = []
    for image in images:
        pixels = image[0].astype(np.float32) / 255 * outside
        mean = _cells(pixels)[kept] / share[kept]
        spread = np.sqrt(np.clip(_cells(pixels**2)[kept] / share[kept] - mean**2, 0, None))
        rows.append(np.concatenate([mean, spread]))
    return np.asarray(rows, np.float64)


def _cells(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.resize(plane, (CELLS, CELLS), interpolation=cv2.INTER_AREA), np.float32)


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
