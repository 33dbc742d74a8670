"""The images that a report shows, chosen by a rule that nobody can tune, and their attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.runs import weights_path
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.results import Results
from magsd_cli.inference.torch_engine import load_ensemble, predict_images
from magsd_cli.metrics.predictions import Predictions

MOST_CLASSES = 6
MOST = 200  # cases: a page of about 2 MB, which opens on a phone

#: How far a network's answer may be from the one in the table: another machine rounds differently.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Chosen:
    """An image to show: its row in the predictions, true and predicted class, the latter's probability."""

    row: int
    image_id: str
    fold: int
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class ShownCases:
    """The cases of a report: the chosen ones, the gallery's rows of the predictions, and their pictures.

    `pixels`: the prepared image uint8 [S,S] of each row; `maps`: the attention [h,w] of those that have one;
    `without_attention` says why there is none, where there is none.
    """

    chosen: tuple[Chosen, ...]
    gallery: tuple[int, ...]
    pixels: dict[int, npt.NDArray[np.uint8]] = field(repr=False)
    maps: dict[int, npt.NDArray[np.float32]] = field(repr=False)
    without_attention: str = ""


def choose_cases(predictions: Predictions) -> list[Chosen]:
    """Choose of each class (of the first `MOST_CLASSES`) the right and the wrong prediction of highest
    confidence.

    Ties go to the first image id.
    """
    called, confidence, folds = predictions.called, predictions.confidence, predictions.tested_in()
    surest = sorted(range(len(predictions)), key=lambda i: (-float(confidence[i]), predictions.image_ids[i]))
    chosen = []
    for k, name in enumerate(predictions.classes[:MOST_CLASSES]):
        own = [row for row in surest if predictions.truth[row] == k]
        for right in (True, False):
            for row in [row for row in own if (called[row] == k) == right][:1]:
                image_id, fold = predictions.image_ids[row], int(folds[row])
                predicted = predictions.classes[called[row]]
                chosen.append(Chosen(row, image_id, fold, name, predicted, float(confidence[row])))
    return chosen


def gallery_rows(
    right: npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.float64],
    image_ids: Sequence[str],
    most: int = MOST,
) -> list[int]:
    """Rows of the `most` cases to show: errors first, then by confidence; ties by image id. All are [N].

    Half of the places are kept for images that were called right, where there are so many.
    """
    order = sorted(range(len(right)), key=lambda i: (bool(right[i]), -float(confidence[i]), image_ids[i]))
    wrong = [row for row in order if not right[row]]
    called_right = order[len(wrong) :]
    kept = max(most - len(called_right), most - most // 2)
    return (wrong[:kept] + called_right)[:most]


def gather_cases(results: Results, cache: Cache) -> ShownCases:
    """The cases that the report of a run with predictions shows, their pixels from its `cache`.

    Raises `ArtifactError` where the networks do not give the run's predictions.
    """
    assert results.predictions is not None
    found = results.predictions
    chosen = choose_cases(found)
    gallery = gallery_rows(found.called == found.truth, found.confidence, found.image_ids)
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    rows = sorted({*gallery, *(case.row for case in chosen)})
    pixels = {row: cache.images[place[found.image_ids[row]], 0] for row in rows}
    maps, reason = attention_by_row(results, pixels)
    return ShownCases(tuple(chosen), tuple(gallery), pixels, maps, reason)


def attention_by_row(
    results: Results, pixels: dict[int, npt.NDArray[np.uint8]]
) -> tuple[dict[int, npt.NDArray[np.float32]], str]:
    """Attention by row of the predictions, from the network of the image's own fold; and why there is none.

    pixels: the prepared image [S,S] of each wanted row.
    """
    run = results.run
    assert results.predictions is not None
    tested_in = results.predictions.tested_in()
    fold_of = {row: int(tested_in[row]) for row in pixels}
    folds = sorted(set(fold_of.values()))
    if not all(weights_path(run.path, fold).exists() for fold in folds):
        return {}, "a fold's weights are missing"
    maps: dict[int, npt.NDArray[np.float32]] = {}
    for fold in folds:
        own = [row for row in pixels if fold_of[row] == fold]
        images = np.stack([pixels[row] for row in own])[:, None]
        found = predict_images(load_ensemble(run, [fold]), images, with_attention=True)
        expected = results.predictions.probabilities[own]
        if float(np.abs(found.probabilities - expected).max()) > TOLERANCE:
            raise ArtifactError(
                f"{weights_path(run.path, fold)}: does not give the predictions of predictions.parquet; "
                "make the run again"
            )
        if found.attention is None:
            return {}, "this network has no attention maps"
        maps |= {row: found.attention[i] for i, row in enumerate(own)}
    return maps, ""
