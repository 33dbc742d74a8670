"""Which images a report shows, chosen by a rule that nobody can tune, and their attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.runs import weights_path
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.results import Evidence
from magsd_cli.inference.torch_engine import load_ensemble, predict_images

if TYPE_CHECKING:
    import pandas as pd


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


def choose_cases(
    predictions: pd.DataFrame, confidence: Sequence[float], classes: Sequence[str]
) -> list[Chosen]:
    """Of each class (of the first `MOST_CLASSES`) the surest right call and the surest wrong one.

    confidence: the probability of the predicted class, a row each. Ties go to the first image id.
    """
    table = predictions[["image_id", "label", "predicted", "fold"]].assign(
        confidence=list(confidence), row=range(len(predictions))
    )
    table = table.sort_values(["confidence", "image_id"], ascending=[False, True], kind="stable")
    chosen = []
    for name in list(classes)[:MOST_CLASSES]:
        own = table[table["label"] == name]
        for right in (True, False):
            kind = own[(own["predicted"] == name) == right]
            if len(kind):
                chosen.append(_chosen(kind.iloc[0]))
    return chosen


def _chosen(row: pd.Series) -> Chosen:
    return Chosen(
        int(row["row"]), str(row["image_id"]), int(row["fold"]),
        str(row["label"]), str(row["predicted"]), float(row["confidence"]),
    )  # fmt: skip


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


def gather_cases(evidence: Evidence, cache: Cache) -> ShownCases:
    """The cases that the report of a run with predictions shows, their pixels from its `cache`.

    Raises `ArtifactError` where the networks do not give the run's predictions.
    """
    assert evidence.predictions is not None
    assert evidence.probabilities is not None
    table = evidence.predictions
    confidence = evidence.probabilities.max(axis=1)
    chosen = choose_cases(table, list(confidence), evidence.run.classes)
    right = (table["label"] == table["predicted"]).to_numpy(np.bool_)
    gallery = gallery_rows(right, confidence, list(table["image_id"]))
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    rows = sorted({*gallery, *(case.row for case in chosen)})
    pixels = {row: cache.images[place[table["image_id"].iloc[row]], 0] for row in rows}
    maps, reason = attention_by_row(evidence, pixels)
    return ShownCases(tuple(chosen), tuple(gallery), pixels, maps, reason)


def attention_by_row(
    evidence: Evidence, pixels: dict[int, npt.NDArray[np.uint8]]
) -> tuple[dict[int, npt.NDArray[np.float32]], str]:
    """Attention by row of the predictions, from the network of the image's own fold; and why there is none.

    pixels: the prepared image [S,S] of each wanted row.
    """
    run = evidence.run
    assert evidence.predictions is not None
    assert evidence.probabilities is not None
    fold_of = {row: int(evidence.predictions["fold"].iloc[row]) for row in pixels}
    folds = sorted(set(fold_of.values()))
    if not all(weights_path(run.path, fold).exists() for fold in folds):
        return {}, "a fold's weights are missing"
    maps: dict[int, npt.NDArray[np.float32]] = {}
    for fold in folds:
        own = [row for row in pixels if fold_of[row] == fold]
        images = np.stack([pixels[row] for row in own])[:, None]
        found = predict_images(load_ensemble(run, [fold]), images, with_attention=True)
        expected = evidence.probabilities[own]
        if float(np.abs(found.probabilities - expected).max()) > TOLERANCE:
            raise ArtifactError(
                f"{weights_path(run.path, fold)}: does not give the predictions of predictions.parquet; "
                "make the run again"
            )
        if found.attention is None:
            return {}, "this network has no attention maps"
        maps |= {row: found.attention[i] for i, row in enumerate(own)}
    return maps, ""
