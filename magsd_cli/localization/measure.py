"""One image against its truth, and its row of the localization table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypedDict, cast

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.tables import IN_TRAINING_DATA, path_text, probability_column
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.decision import mean_probabilities, rules_of
from magsd_cli.inference.engines import AttentionEngine
from magsd_cli.inference.model import Model
from magsd_cli.localization.regions import Mask, Region, cut_region, lay_on_film, stretch, upsample
from magsd_cli.localization.truth import Truth, read_mask
from magsd_cli.localization.views import View
from magsd_cli.metrics.iou import box_iou, boxes_mask, enclosing_box, mask_iou, pointing_hit

Floats = npt.NDArray[np.float32]
GIVEN, CHOSEN, DEFAULT = "given", "chosen", "default"
BOXES, MASK, LUNGS = "boxes", "mask", "lungs"

#: The IoU (eq. 12) that counts for each kind of truth: of the enclosing box for boxes, else of the mask.
IOU = {BOXES: "iou_box", MASK: "iou_mask"}
SHARES = (0.25, 0.5)  # the paper speaks of IoU over 0.25
THRESHOLDS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(1, 20))

_Shares = TypedDict(
    "_Shares",
    {
        "control_over_0.25": float | None,
        "control_over_0.5": float | None,
        "untrained_over_0.25": float | None,
        "untrained_over_0.5": float | None,
    },
    total=False,
)


class LocalizationRow(_Shares, total=False):
    """A row of localization.parquet: a file's answer, region and truth, how well they fit, and the controls.

    Columns that do not apply are None, or not there yet. Beside these it has a ``p_<class>`` for each class.
    """

    path: str
    sha256: str | None
    status: str
    error_code: str | None
    error: str | None
    warnings: list[str]
    predicted: str | None
    confidence: float | None
    model_sha256: str
    image_width: int | None
    image_height: int | None
    threshold: float | None
    x: float | None
    y: float | None
    width: float | None
    height: float | None
    area_share: float | None
    folds: list[int]
    unseen: bool | None
    truth: str | None
    label: str | None
    iou_box: float | None
    iou_mask: float | None
    pointing_hit: bool | None
    control_iou_box: float | None
    control_iou_mask: float | None
    control_pointing: float | None
    overlay: str | None
    mask: str | None
    patient_id: str | None
    threshold_from: str | None
    threshold_images: int | None
    lungs_inside: float | None
    lungs_share: float | None
    control_lungs: float | None
    untrained_iou_box: float | None
    untrained_iou_mask: float | None
    untrained_pointing: float | None
    untrained_lungs: float | None


def number_in(row: LocalizationRow, column: str) -> float:
    """The number in a column of a row; a truth value is 0 or 1. Raises `TypeError` where there is none."""
    return float(cast("float", row.get(column)))


def kind_of(truth: str | None) -> str | None:
    """`BOXES` where the truth of an image has boxes, else `MASK`; None without truth."""
    return None if not truth else BOXES if truth.startswith(BOXES) else MASK


@dataclass(frozen=True)
class AttendedImage:
    """One image with what the networks say: `attention` [h,w] over the whole film, `folds` that were asked.

    `unseen`: none of them was trained on the image; None where that cannot be known. `home`: the fold of the
    run's own data in which the image lies, `patient` its patient there; None for another image.
    """

    view: View
    probabilities: Floats
    attention: Floats = field(repr=False)
    folds: tuple[int, ...]
    unseen: bool | None
    home: int | None = None
    patient: str | None = None


def attend(
    views: Sequence[View],
    model: Model,
    ask: AttentionEngine,
    fold_of: Mapping[str, int] | None,
    patient_of: Mapping[str, str],
) -> Iterator[AttendedImage | View]:
    """Ask the networks about each view; a view that could not be read is handed through.

    fold_of, patient_of: content hash -> the fold and the patient of each image of the run's own data. Such an
    image is shown only to the network that was not trained on it, if there is one.
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
        patient = patient_of.get(view.sha256)
        attention = lay_on_film(answer.attention[0], view.frame, view.shape)
        yield AttendedImage(view, probabilities, attention, folds, unseen, home, patient)


def evidence_of(ask: AttentionEngine, name: str) -> AttentionEngine:
    """`ask` with, in place of the attention, the class-aware map of the class that it predicts.

    The map [h,w] is the part of the class's logit that comes from each pixel, also below 0. The answer raises
    `ArtifactError` where the network, called `name`, or its model file has none.
    """

    def asked(image: npt.NDArray[np.uint8], folds: tuple[int, ...]) -> Prediction:
        answer = ask(image, folds)
        if answer.class_maps is None:
            raise ArtifactError(f"{name}: has no class-aware maps; export its run again, or omit --map")
        best = answer.probabilities.argmax(axis=1)
        return replace(answer, attention=answer.class_maps[np.arange(len(best)), best])

    return asked


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
class Finding:
    """The truth about one image in its pixels: `mask` bool [H,W], its boxes, and where it comes from."""

    mask: Mask = field(repr=False)
    truth: Truth
    label: str
    kind: str  # "boxes", "mask" or "boxes+mask"


def finding_of(truth: Truth | None, shape: tuple[int, int]) -> Finding | None:
    """The finding of an image of `shape`; None without one, or where its mask is empty."""
    if truth is None or not (truth.boxes or truth.mask):
        return None
    mask = boxes_mask(truth.boxes, shape) if truth.mask is None else read_mask(truth.mask, shape)
    if not mask.any():
        return None
    kinds = [*([BOXES] if truth.boxes else []), *(["mask"] if truth.mask else [])]
    return Finding(mask, truth, truth.label, "+".join(kinds))


def lungs_of(truth: Truth | None, shape: tuple[int, int]) -> Mask | None:
    """The lungs of an image of `shape`; None without a mask of them, or where it is empty."""
    mask = None if truth is None or truth.lungs is None else read_mask(truth.lungs, shape)
    return mask if mask is not None and mask.any() else None


def measure(region: Region, finding: Finding) -> dict[str, float]:
    """IoU of the boxes and of the masks, whether the one that counts is over `SHARES`, the pointing game."""
    fits = {"iou_box": _box_fit(region, finding), "iou_mask": mask_iou(region.mask, finding.mask)}
    counts = fits[IOU[str(kind_of(finding.kind))]]
    over = {f"over_{share:g}": float(counts >= share) for share in SHARES}
    return {**fits, **over, "pointing": float(pointing_hit(region.attention, finding.mask))}


def threshold_curve(attention: Floats, finding: Finding) -> list[float]:
    """The IoU that counts for the kind of truth at each of `THRESHOLDS`."""
    stretched = stretch(upsample(attention, (finding.mask.shape[0], finding.mask.shape[1])))
    regions = (cut_region(stretched, threshold) for threshold in THRESHOLDS)
    if kind_of(finding.kind) == BOXES:
        return [_box_fit(region, finding) for region in regions]
    return [mask_iou(region.mask, finding.mask) for region in regions]


def _box_fit(region: Region, finding: Finding) -> float:
    """Against one box as numbers, against several as their union, against a mask as the box around it."""
    if region.box is None:
        return 0.0
    boxes = finding.truth.boxes
    if len(boxes) > 1:
        shape = (finding.mask.shape[0], finding.mask.shape[1])
        return mask_iou(boxes_mask([region.box], shape), boxes_mask(boxes, shape))
    box = boxes[0] if boxes else enclosing_box(finding.mask)
    return 0.0 if box is None else box_iou(region.box, box)


class Threshold(NamedTuple):
    """A share of the attention's range, where it is from, and how many images chose it."""

    value: float
    source: str
    images: int | None = None


def localization_row(
    attended: AttendedImage,
    region: Region,
    finding: Finding | None,
    threshold: Threshold,
    classes: Sequence[str],
) -> LocalizationRow:
    """The columns of the localization table for one image: answer, region, truth and how well they fit."""
    view, best = attended.view, int(attended.probabilities.argmax())
    x, y, width, height = region.box or (None,) * 4
    fit = measure(region, finding) if finding else {}
    row: LocalizationRow = {
        **_common(view),
        "warnings": [*view.warnings, *([IN_TRAINING_DATA] if attended.unseen is False else [])],
        "predicted": classes[best],
        "confidence": float(attended.probabilities[best]),
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
        "folds": list(attended.folds),
        "unseen": attended.unseen,
        "truth": finding.kind if finding else None,
        "label": finding.label or None if finding else None,
        "iou_box": fit.get("iou_box"),
        "iou_mask": fit.get("iou_mask"),
        "pointing_hit": bool(fit["pointing"]) if fit else None,
        "patient_id": attended.patient,
    }
    probabilities = zip(classes, attended.probabilities, strict=True)
    return with_columns(row, {probability_column(name): float(p) for name, p in probabilities})


def with_columns(row: LocalizationRow, columns: Mapping[str, object]) -> LocalizationRow:
    """The row with columns whose names depend on the classes or on what was measured."""
    return cast("LocalizationRow", {**row, **columns})


def error_row(view: View) -> LocalizationRow:
    """The row of a file that could not be read."""
    return {**_common(view), "error_code": view.error_code, "error": view.error, "warnings": []}


def _common(view: View) -> LocalizationRow:
    status = "error" if view.image is None else "ok"
    return {"path": path_text(view.path), "sha256": view.sha256 or None, "status": status}
