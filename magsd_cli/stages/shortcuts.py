"""The shortcut audit of a run: small classifiers on its cached images, in its own folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.truth import read_masks
from magsd_cli.data.shortcuts import (
    border_features,
    chest_region,
    lungless_features,
    out_of_fold,
    thumbnail_features,
)
from magsd_cli.reporting.audited import (
    Association,
    Audit,
    Shortcut,
    measure_association,
    measure_shortcut,
)
from magsd_cli.stages.evidence import Evidence

Images = npt.NDArray[np.uint8]
Features = Callable[[Images], npt.NDArray[np.float64]]
#: Fewer images of a source are counted with the other small ones.
LEAST = 10
OTHERS = "other sources"
UNKNOWN = "source unknown"


def audit_shortcuts(evidence: Evidence, cache: Cache | None) -> Audit:
    """What the tested images give away without their lungs, of their class and their source.

    Without the cache or the predictions only what the tables hold is there; raises `ArtifactError` for
    damaged lung masks.
    """
    table = evidence.predictions
    if table is None or len(table) == 0:
        return Audit()
    names = _sources(table, evidence.samples)
    association = _association(table, evidence.samples)
    if cache is None:
        return Audit(association=association)
    views, removed = _views(cache)
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    images = cache.images[[place[image_id] for image_id in table["image_id"]]]
    features = {view: (measure(images), lungless) for view, (measure, lungless) in views.items()}
    sources, source = np.unique(names, return_inverse=True)
    return Audit(
        by_class=_shortcuts(features, evidence.truth(), table, len(evidence.run.classes)),
        by_source=_shortcuts(features, source, table, len(sources)) if len(sources) > 1 else (),
        sources=tuple(str(name) for name in sources),
        association=association,
        removed=removed,
    )


def _views(cache: Cache) -> tuple[dict[str, tuple[Features, bool]], str]:
    """Each view's name, its features and whether it holds no lung; and which region was removed."""
    lungs = _lungs(cache.path)
    region = chest_region(lungs, cache.size)
    removed = f"Lungs removed: from every image the same region, {100 * region.mean():.0f} % of it, "
    if lungs is None:
        removed += "a rounded rectangle over the middle (there are no lung masks)."
    else:
        removed += f"where lungs are in at least 5 % of the {len(lungs)} lung masks of this cache."
    views: dict[str, tuple[Features, bool]] = {
        "the border of the picture alone": (border_features, True),
        "the picture with the lungs removed": (lambda images: lungless_features(images, region), True),
        "an 8x8 thumbnail": (thumbnail_features, False),
    }
    return views, removed


def _lungs(path: Path) -> Images | None:
    found = read_masks(path)
    rows = [] if found is None else [i for i, kind in enumerate(found.kinds) if kind == "lung"]
    return found.masks[rows] if found is not None and rows else None


def _shortcuts(
    features: dict[str, tuple[npt.NDArray[np.float64], bool]],
    truth: npt.NDArray[np.int64],
    table: pd.DataFrame,
    classes: int,
) -> tuple[Shortcut, ...]:
    folds = table["fold"].to_numpy(np.int64)
    found = []
    for view, (values, lungless) in features.items():
        probabilities = out_of_fold(values, truth, folds, classes)
        if probabilities is not None:
            found.append(measure_shortcut(view, truth, probabilities, list(table["patient_id"]), lungless))
    return tuple(found)


def _sources(table: pd.DataFrame, samples: pd.DataFrame | None) -> npt.NDArray[np.str_]:
    """The source of each tested image [N]; those of few images under one name."""
    if samples is None:
        return np.full(len(table), UNKNOWN)
    found = samples.set_index("image_id")["source"].reindex(table["image_id"]).fillna("").replace("", UNKNOWN)
    counts = found.map(found.value_counts())
    return found.where(counts >= LEAST, OTHERS).to_numpy(np.str_)


def _association(table: pd.DataFrame, samples: pd.DataFrame | None) -> Association | None:
    if samples is None:
        return None
    sources = samples.set_index("image_id")["source"].reindex(table["image_id"]).fillna("")
    return measure_association(list(table["label"]), list(sources), list(table["patient_id"]))
