"""On real X-rays: what is no frontal chest film is referred, and few new patients' films are."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from unlike import DRAWN, FILMS

from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.inference.out_of_distribution import (
    appearance_features,
    cross_fitted_distance,
    distance,
    fit_appearance,
)
from magsd_cli.metrics.abstention import tolerance_limit
from magsd_cli.settings import Preprocessing

pytestmark = pytest.mark.real
EACH = 40  # pictures of a kind


def _features(pictures: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
    return appearance_features(np.stack([prepare_pixels(p, Preprocessing(224)) for p in pictures])[:, None])


def _part(row: dict[str, str]) -> int:
    return zlib.crc32(row["patient_id"].encode()) % 10


def test_odd_pictures_are_referred_and_new_patients_are_not(shared_data: Path) -> None:
    folder = shared_data / "cxr"
    with (folder / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    films = {row["path"]: np.asarray(cv2.imread(str(folder / row["path"]), 0), np.uint8) for row in rows}
    fit, new = ([row for row in rows if (_part(row) >= 3) == side] for side in (True, False))
    features = _features([films[row["path"]] for row in fit])
    distances = cross_fitted_distance(features, [_part(row) for row in fit])
    assert distances is not None
    limit, assured = tolerance_limit(distances, len({row["patient_id"] for row in fit}))
    assert assured
    plane = fit_appearance(features)
    unseen = [films[row["path"]] for row in new]
    assert len(unseen) > 200
    assert (distance(plane, _features(unseen)) > limit).mean() <= 0.05
    shares = {}
    for name, draw in DRAWN.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        shares[name] = (distance(plane, _features([draw(rng) for _ in range(EACH)])) > limit).mean()
    for name, change in FILMS.items():
        shares[name] = (distance(plane, _features([change(film) for film in unseen[:EACH]])) > limit).mean()
    assert np.mean(list(shares.values())) >= 0.98, shares
    assert min(shares.values()) >= 0.95, shares
