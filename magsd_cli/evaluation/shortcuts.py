"""The shortcut audit of a run: small classifiers on its cached images, in its own folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.cache_truth import read_masks
from magsd_cli.data.film import MARGIN
from magsd_cli.evaluation.lung_frames import FrameShares, frame_features, frames_by_class
from magsd_cli.evaluation.results import Results
from magsd_cli.metrics.association import corrected_cramers_v, cramers_v
from magsd_cli.metrics.intervals import Interval, bootstrap, rate_intervals
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.roc import one_vs_rest_auc
from magsd_cli.settings import Lungs

Images = npt.NDArray[np.uint8]
Features = Callable[[Images], npt.NDArray[np.float64]]

#: Fewer images of a source are counted with the other small ones.
LEAST = 10
OTHERS = "other sources"
UNKNOWN = "source unknown"
Floats = npt.NDArray[np.float64]
BORDER = 1 / 12  # of the side: outside the lungs on any usual chest film
PLACES = 16  # patches along each side of the border
THUMBNAIL = 8
CELLS = 12  # along each side, of what is left when the lungs are removed
OFTEN = 0.05  # of the lung masks that must have a place, for it to be removed everywhere
LEFT = 0.25  # of a cell that must be left, for the cell to count
DRAWS = 500
BORDER_VIEW = "the border of the picture alone"
FRAME_VIEW = "the place and shape of the box around the lungs alone"


def audit_shortcuts(results: Results, cache: Cache | None) -> ShortcutAudit:
    """Measure what the tested images give away, without their lungs, of their class and their source.

    Without the cache or the predictions only what the tables hold is there; raises `ArtifactError` for
    damaged lung masks.
    """
    found = results.predictions
    if found is None or len(found) == 0:
        return ShortcutAudit()
    names = _sources(found, results.tested)
    association = _association(found, results.tested)
    box = None if results.tested is None else frame_features(results.tested)
    frames = () if box is None else frames_by_class(box, found.truth, len(found.classes), found.patients)
    if cache is None:
        return ShortcutAudit(association=association, frames=frames)
    views, removed = _views(cache)
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    images = cache.images[[place[image_id] for image_id in found.image_ids]]
    features = {view: (measure(images), lungless) for view, (measure, lungless) in views.items()}
    if box is not None:
        features[FRAME_VIEW] = (box, True)
    sources, source = np.unique(names, return_inverse=True)
    by_source = replace(found, truth=source, classes=tuple(str(name) for name in sources))
    return ShortcutAudit(
        by_class=_shortcuts(features, found),
        by_source=_shortcuts(features, by_source) if len(sources) > 1 else (),
        sources=by_source.classes,
        association=association,
        removed=removed,
        frames=frames,
    )


def _views(cache: Cache) -> tuple[dict[str, tuple[Features, bool]], str]:
    """Each view's name, its features and whether it holds no lung; and which region was removed."""
    lungs, side = _lungs(cache.path), cache.preprocessing.size
    cut = cache.preprocessing.lungs != Lungs.none
    border = MARGIN if cut else BORDER
    views: dict[str, tuple[Features, bool]] = {
        BORDER_VIEW: (lambda images: border_features(images, border), True),
        "an 8x8 thumbnail": (thumbnail_features, False),
    }
    note = ""
    if cut:
        note = f"Films are cut to their lungs: the border is the {100 * MARGIN:.0f}% around them. "
        if lungs is None:  # where lungs are on a cut film nobody knows: all of it but the border
            return views, note.rstrip()
    region = chest_region(lungs, side)
    if not (_cells((~region).astype(np.float32)) >= LEFT).any():
        return views, f"{note}Without the lungs nothing would be left of the pictures."
    removed = f"Lungs removed: from every image the same region, {100 * region.mean():.0f}% of it, "
    if lungs is None:
        removed += "a rounded rectangle over the middle (there are no lung masks)."
    else:
        removed += f"where lungs are in at least 5% of the {len(lungs)} lung masks of this cache."
    lungless: tuple[Features, bool] = (lambda images: lungless_features(images, region), True)
    first, last = views.items()
    return dict([first, ("the picture with the lungs removed", lungless), last]), note + removed


def _lungs(path: Path) -> Images | None:
    found = read_masks(path)
    rows = [] if found is None else [i for i, kind in enumerate(found.kinds) if kind == "lung"]
    return found.masks[rows] if found is not None and rows else None


def _shortcuts(
    features: dict[str, tuple[npt.NDArray[np.float64], bool]], tested: Predictions
) -> tuple[Shortcut, ...]:
    """Measure what each view tells of `tested`'s true classes, over its images, folds and patients."""
    found = []
    for view, (values, lungless) in features.items():
        probabilities = out_of_fold(values, tested.truth, tested.tested_in(), len(tested.classes))
        if probabilities is not None:
            found.append(measure_shortcut(view, tested.truth, probabilities, tested.patients, lungless))
    return tuple(found)


def _sources(found: Predictions, tested: pd.DataFrame | None) -> npt.NDArray[np.str_]:
    """The source of each tested image [N]; those of few images under one name."""
    if tested is None:
        return np.full(len(found), UNKNOWN)
    sources = tested["source"].fillna("").replace("", UNKNOWN)
    counts = sources.map(sources.value_counts())
    return sources.where(counts >= LEAST, OTHERS).to_numpy(np.str_)


def _association(found: Predictions, tested: pd.DataFrame | None) -> Association | None:
    if tested is None:
        return None
    return measure_association(found.labels, list(tested["source"].fillna("")), found.patients)


def border_features(images: Images, share: float = BORDER) -> Floats:
    """Mean and spread of brightness in patches along the border: uint8 [N,1,S,S] -> [N, 8 * PLACES].

    share: of the side that is border.
    """
    width = max(2, round(images.shape[-1] * share))
    pixels = images[:, 0].astype(np.float64) / 255
    strips = (pixels[:, :width], pixels[:, -width:], pixels[:, :, :width], pixels[:, :, -width:])
    features = []
    for number, strip in enumerate(strips):
        along = 2 if number < 2 else 1
        for part in np.array_split(strip, PLACES, axis=along):
            features += [part.mean(axis=(1, 2)), part.std(axis=(1, 2))]
    return np.stack(features, axis=1)


def chest_region(lungs: Images | None, size: int) -> npt.NDArray[np.bool_]:
    """Return where lungs are on films of this kind, bool [S,S]: one region for all images, so that its shape
    says nothing about one of them.

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


@dataclass(frozen=True)
class Shortcut:
    """The information in one view of the images: the AUC of each class with its interval; `lungless` if it
    shows no lungs.
    """

    view: str
    areas: tuple[float, ...]
    intervals: tuple[Interval, ...]
    lungless: bool


@dataclass(frozen=True)
class Association:
    """Cramer's V of source and class; `corrected` for its bias in small samples, with its interval."""

    plain: float
    corrected: float
    interval: Interval


@dataclass(frozen=True)
class ShortcutAudit:
    """The shortcuts to class and source that were found; `removed` says what "lungs removed" means.

    `frames`: for each class, where films are cut to their lungs, how often they are not and how they are cut.
    """

    by_class: tuple[Shortcut, ...] = ()
    by_source: tuple[Shortcut, ...] = ()
    sources: tuple[str, ...] = ()
    association: Association | None = None
    removed: str = ""
    frames: tuple[FrameShares, ...] = ()


def measure_association(
    labels: Sequence[str], sources: Sequence[str], patients: Sequence[str]
) -> Association | None:
    """Measure how strongly source and class go together, by bootstrap over patients; None for one source or
    class.
    """
    plain = cramers_v(labels, sources)
    if plain is None:
        return None
    interval = bootstrap(
        lambda weights: corrected_cramers_v(labels, sources, weights),
        patients,
        np.random.default_rng(0),
        DRAWS,
    )
    return Association(plain, float(corrected_cramers_v(labels, sources)[0]), interval)


def measure_shortcut(
    view: str,
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    patients: Sequence[str],
    lungless: bool,
) -> Shortcut:
    """Out-of-fold AUCs of a small classifier, intervals by bootstrap over patients."""
    found = rate_intervals(truth, probabilities, patients, np.random.default_rng(0), DRAWS)
    areas = one_vs_rest_auc(truth, probabilities)
    bounds = tuple(found[f"auc.{k}"] for k in range(len(areas)))
    return Shortcut(view, tuple(float(area) for area in areas), bounds, lungless)
