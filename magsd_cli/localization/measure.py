"""One image against its truth, and its row of the localization table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.tables import IN_TRAINING_DATA, path_text, probability_column
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.decision import mean_probabilities, rules_of
from magsd_cli.inference.engines import Ask
from magsd_cli.inference.model import Model
from magsd_cli.localization.regions import (
    Mask,
    Region,
    cut_region,
    stretch,
    upsample,
)
from magsd_cli.localization.scores import BOXES, IOU, SHARES, THRESHOLDS, kind_of
from magsd_cli.localization.truth import Truth, read_mask
from magsd_cli.localization.views import View
from magsd_cli.metrics.iou import box_iou, boxes_mask, enclosing_box, mask_iou, pointing_hit

Floats = npt.NDArray[np.float32]
GIVEN, CHOSEN, DEFAULT = "given", "chosen", "default"
Row = dict[str, Any]


@dataclass(frozen=True)
class Marked:
    """One image with what the networks say: `attention` [h,w] as they give it, `folds` that were asked.

    `unseen`: none of them was trained on the image; None where that cannot be known. `home`: the fold of the
    run's own data in which the image lies, None for another image.
    """

    view: View
    probabilities: Floats
    attention: Floats = field(repr=False)
    folds: tuple[int, ...]
    unseen: bool | None
    home: int | None = None


def mark(
    views: Sequence[View], model: Model, ask: Ask, fold_of: Mapping[str, int] | None
) -> Iterator[Marked | View]:
    """Ask the networks about each view; a view that could not be read is handed through.

    An image of the run's own data is shown only to the network that was not trained on it, if there is one.
    Raises `ArtifactError` when the network has no attention.
    """
    rules = rules_of(model)
    for view in views:
        if view.image is None:
            yield view
            continue
        folds, unseen = _fold_choice(view.sha256, model.folds, fold_of)
        # One at a time: an image's answer must not depend on which others are asked about.
        answer = ask(view.image[None, None], folds)
        if answer.attention is None:
            raise ArtifactError(
                f"{model.name}: its network {model.recipe['model']['name']} has no attention maps; "
                "choose a magsd run"
            )
        probabilities = mean_probabilities(answer.of_each_network()[0], rules.temperature)
        home = None if fold_of is None else fold_of.get(view.sha256)
        yield Marked(view, probabilities, answer.attention[0], folds, unseen, home)


def _fold_choice(
    sha256: str, folds: tuple[int, ...], fold_of: Mapping[str, int] | None
) -> tuple[tuple[int, ...], bool | None]:
    if fold_of is None:
        return folds, None
    if sha256 not in fold_of:
        return folds, True
    own = fold_of[sha256]
    return ((own,), True) if own in folds else (folds, False)


@dataclass(frozen=True)
class Target:
    """What is true of one image in its pixels: `mask` bool [H,W], its boxes, and where it comes from."""

    mask: Mask = field(repr=False)
    truth: Truth
    label: str
    kind: str  # "boxes", "mask" or "boxes+mask"


def target(truth: Truth | None, shape: tuple[int, int]) -> Target | None:
    """The finding of an image of `shape`; None without one, or where its mask is empty."""
    if truth is None or not (truth.boxes or truth.mask):
        return None
    mask = boxes_mask(truth.boxes, shape) if truth.mask is None else read_mask(truth.mask, shape)
    if not mask.any():
        return None
    kinds = [*([BOXES] if truth.boxes else []), *(["mask"] if truth.mask else [])]
    return Target(mask, truth, truth.label, "+".join(kinds))


def lungs_of(truth: Truth | None, shape: tuple[int, int]) -> Mask | None:
    """The lungs of an image of `shape`; None without a mask of them, or where it is empty."""
    mask = None if truth is None or truth.lungs is None else read_mask(truth.lungs, shape)
    return mask if mask is not None and mask.any() else None


def measure(region: Region, aim: Target) -> dict[str, float]:
    """IoU of the boxes and of the masks, whether the one that counts is over `SHARES`, the pointing game."""
    fits = {"iou_box": _box_fit(region, aim), "iou_mask": mask_iou(region.mask, aim.mask)}
    counts = fits[IOU[str(kind_of(aim.kind))]]
    over = {f"over_{share:g}": float(counts >= share) for share in SHARES}
    return {**fits, **over, "pointing": float(pointing_hit(region.attention, aim.mask))}


def threshold_curve(attention: Floats, aim: Target) -> list[float]:
    """The IoU that counts for the kind of truth at each of `THRESHOLDS`."""
    stretched = stretch(upsample(attention, (aim.mask.shape[0], aim.mask.shape[1])))
    regions = (cut_region(stretched, threshold) for threshold in THRESHOLDS)
    if kind_of(aim.kind) == BOXES:
        return [_box_fit(region, aim) for region in regions]
    return [mask_iou(region.mask, aim.mask) for region in regions]


def _box_fit(region: Region, aim: Target) -> float:
    """Against one box as numbers, against several as their union, against a mask as the box around it."""
    if region.box is None:
        return 0.0
    boxes = aim.truth.boxes
    if len(boxes) > 1:
        shape = (aim.mask.shape[0], aim.mask.shape[1])
        return mask_iou(boxes_mask([region.box], shape), boxes_mask(boxes, shape))
    box = boxes[0] if boxes else enclosing_box(aim.mask)
    return 0.0 if box is None else box_iou(region.box, box)


def describe_truth(aim: Target | None) -> dict[str, Any]:
    """The truth's columns of the localization table."""
    return {"truth": aim.kind if aim else None, "label": aim.label or None if aim else None}


class Threshold(NamedTuple):
    """A share of the attention's range, where it is from, and how many images chose it."""

    value: float
    source: str
    images: int | None = None


def localization_row(
    answer: Marked, region: Region, aim: Target | None, threshold: Threshold, model: Model
) -> Row:
    """The columns of the localization table for one image: answer, region, truth and how well they fit."""
    view, best = answer.view, int(answer.probabilities.argmax())
    x, y, width, height = region.box or (None,) * 4
    fit = measure(region, aim) if aim else {}
    return {
        **_common(view),
        "warnings": [*view.warnings, *([IN_TRAINING_DATA] if answer.unseen is False else [])],
        "predicted": model.classes[best],
        **{probability_column(c): float(p) for c, p in zip(model.classes, answer.probabilities, strict=True)},
        "confidence": float(answer.probabilities[best]),
        "image_width": view.shape[1],
        "image_height": view.shape[0],
        "threshold": threshold.value,
        "threshold_from": threshold.source,
        "threshold_images": threshold.images,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "area_share": region.area_share,
        "folds": list(answer.folds),
        "unseen": answer.unseen,
        **describe_truth(aim),
        "iou_box": fit.get("iou_box"),
        "iou_mask": fit.get("iou_mask"),
        "pointing_hit": bool(fit["pointing"]) if fit else None,
    }


def error_row(view: View) -> Row:
    """The row of a file that could not be read."""
    return _common(view) | {"error_code": view.error_code, "error": view.error, "warnings": []}


def _common(view: View) -> Row:
    status = "error" if view.image is None else "ok"
    return {"path": path_text(view.path), "sha256": view.sha256 or None, "status": status}
