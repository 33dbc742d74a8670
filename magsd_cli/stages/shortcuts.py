"""The shortcut audit of a run: small classifiers on its cached images, in its own folds."""

from __future__ import annotations

import numpy as np

from magsd_cli.artifacts.cache import Cache
from magsd_cli.data.shortcuts import VIEWS, border_features, out_of_fold
from magsd_cli.metrics.association import cramers_v
from magsd_cli.reporting.audited import Shortcut, measure_shortcut
from magsd_cli.stages.evidence import Evidence


def find_shortcuts(evidence: Evidence, cache: Cache | None) -> list[Shortcut]:
    """What the border and a thumbnail of the tested images give away; [] where it cannot be measured."""
    table = evidence.predictions
    if cache is None or table is None or len(table) == 0:
        return []
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    images = cache.images[[place[image_id] for image_id in table["image_id"]]]
    truth, folds = evidence.truth(), table["fold"].to_numpy(np.int64)
    found = []
    for view, features in VIEWS.items():
        probabilities = out_of_fold(features(images), truth, folds, len(evidence.run.classes))
        if probabilities is not None:
            lungless = features is border_features
            found.append(measure_shortcut(view, truth, probabilities, list(table["patient_id"]), lungless))
    return found


def source_association(evidence: Evidence) -> float | None:
    """Cramer's V of source and class over the tested images; None where there is one source or none known."""
    if evidence.predictions is None or evidence.samples is None:
        return None
    table = evidence.predictions
    sources = evidence.samples.set_index("image_id")["source"].reindex(table["image_id"]).fillna("")
    return cramers_v(list(table["label"]), list(sources))
