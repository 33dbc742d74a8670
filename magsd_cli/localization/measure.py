"""What the networks say of one image, what is true of it, and how well the one fits the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from magsd_cli.errors import ArtifactError
from magsd_cli.inference.answer import Prediction
from magsd_cli.inference.decision import mean_probabilities, rules_of
from magsd_cli.inference.engines import AttentionEngine
from magsd_cli.inference.model import Model
from magsd_cli.localization.regions import Box, Mask, Region, lay_on_film
from magsd_cli.localization.truth import Truth, read_mask
from magsd_cli.localization.views import View
from magsd_cli.localization.zones import Zones, zones_of
from magsd_cli.metrics.iou import box_iou, boxes_mask, enclosing_box, mask_iou, pointing_hit
from magsd_cli.metrics.roc import auc
from magsd_cli.settings import Map

Floats = npt.NDArray[np.float32]
#: What a network, or a control, says about where on an image: a map [h,w] of each kind that it has.
Maps = Mapping[str, Floats]
BOXES, MASK, ZONES, LUNGS = "boxes", "mask", "zones", "lungs"

#: The IoU (eq. 12) that counts for each kind of truth: of the enclosing box for boxes, else of the mask.
IOU = {BOXES: "iou_box", MASK: "iou_mask"}
SHARES = (0.25, 0.5)  # the paper speaks of IoU over 0.25
AUC_SIDE = 128  # pixels a side, at most, among which the pixel AUC compares


@dataclass(frozen=True)
class AttendedImage:
    """One image with what the networks say: `maps` [h,w] over the whole film, `folds` that were asked.

    `unseen`: none of them was trained on the image; None where that cannot be known. `home`: the fold of the
    run's own data in which the image lies, `patient` its patient there; None for another image.
    """

    view: View
    probabilities: Floats
    maps: Maps = field(repr=False)
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
    wanted: Map = Map.attention,
) -> Iterator[AttendedImage | View]:
    """Ask the networks about each view; a view that could not be read is handed through.

    fold_of, patient_of: content hash -> the fold and the patient of each image of the run's own data. Such an
    image is shown only to the network that was not trained on it, if there is one.
    Raises `ArtifactError` when the network has no map as `wanted`.
    """
    rules = rules_of(model)
    for view in views:
        if view.image is None:
            yield view
            continue
        folds, unseen = _fold_choice(view.sha256, model.folds, fold_of)
        # One at a time: an image's answer must not depend on which others are asked about.
        answer = ask(view.image[None, None], folds)
        maps = laid_on(view, maps_of(answer))
        if not candidate_maps(maps, wanted):
            raise ArtifactError(_missing(model, wanted))
        probabilities = mean_probabilities(answer.of_each_network()[0], rules.temperature)
        home = None if fold_of is None else fold_of.get(view.sha256)
        patient = patient_of.get(view.sha256)
        yield AttendedImage(view, probabilities, maps, folds, unseen, home, patient)


def laid_on(view: View, maps: Maps) -> dict[str, Floats]:
    """The maps of what the networks were shown of a film as maps of the whole film."""
    return {name: lay_on_film(values, view.frame, view.shape) for name, values in maps.items()}


def maps_of(answer: Prediction) -> dict[str, Floats]:
    """The maps [h,w] of the first image of an answer, by the words of `Map`.

    The mean attention, and the class-aware map of the class that it predicts: the part of the class's logit
    that comes from each pixel, also below 0.
    """
    found: dict[str, Floats] = {}
    if answer.attention is not None:
        found[Map.attention] = answer.attention[0]
    if answer.class_maps is not None:
        found[Map.evidence] = answer.class_maps[0, int(answer.probabilities[0].argmax())]
    return found


def candidate_maps(maps: Maps, wanted: Map) -> tuple[str, ...]:
    """Which of `maps` may be marked as `wanted`: the one, or with `Map.chosen` each that there is."""
    asked = (Map.attention, Map.evidence) if wanted == Map.chosen else (wanted,)
    return tuple(name.value for name in asked if name in maps)


def evidence_of(ask: AttentionEngine, name: str) -> AttentionEngine:
    """`ask` with, in place of the attention, the class-aware map of the class that it predicts (`maps_of`).

    The answer raises `ArtifactError` where the network, called `name`, or its model file has none.
    """

    def asked(image: npt.NDArray[np.uint8], folds: tuple[int, ...]) -> Prediction:
        answer = ask(image, folds)
        maps = maps_of(answer)
        if Map.evidence not in maps:
            raise ArtifactError(_no_class_maps(name))
        return replace(answer, attention=maps[Map.evidence][None])

    return asked


def _no_class_maps(name: str) -> str:
    return f"{name}: has no class-aware maps; export its run again, or omit --map"


def _missing(model: Model, wanted: Map) -> str:
    if wanted == Map.evidence:
        return _no_class_maps(model.name)
    return (
        f"{model.name}: its network {model.recipe['model']['name']} has no attention maps; choose a magsd run"
    )


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


@dataclass(frozen=True)
class KnownTruth:
    """All that is known of one image: its finding, its lungs bool [H,W], its zones; each may be None.

    `zones_status`: for an image with scores whether its zones are measured, and why not (`zones.zones_of`).
    """

    finding: Finding | None = None
    lungs: Mask | None = field(default=None, repr=False)
    zones: Zones | None = None
    zones_status: str | None = None

    @property
    def kind(self) -> str | None:
        """The kind of truth by which map, box rule and threshold are chosen; None where nothing is known."""
        if self.finding is not None:
            return kind_of(self.finding.kind)
        return ZONES if self.zones is not None else LUNGS if self.lungs is not None else None


def known_truth(truth: Truth | None, shape: tuple[int, int]) -> KnownTruth:
    """What is known of an image of `shape`. Raises `UsageError` as `read_mask`."""
    if truth is None:
        return KnownTruth()
    lungs = _lungs_of(truth, shape)
    zones, status = zones_of(truth.zones, lungs)
    return KnownTruth(finding_of(truth, shape), lungs, zones, status)


def kind_of(truth: str | None) -> str | None:
    """`BOXES` where the finding of an image has boxes, else `MASK`; None without one."""
    return None if not truth else BOXES if truth.startswith(BOXES) else MASK


def finding_of(truth: Truth | None, shape: tuple[int, int]) -> Finding | None:
    """The finding of an image of `shape`; None without one, or where its mask is empty."""
    if truth is None or not (truth.boxes or truth.mask):
        return None
    mask = boxes_mask(truth.boxes, shape) if truth.mask is None else read_mask(truth.mask, shape)
    if not mask.any():
        return None
    kinds = [*([BOXES] if truth.boxes else []), *(["mask"] if truth.mask else [])]
    return Finding(mask, truth, truth.label, "+".join(kinds))


def _lungs_of(truth: Truth, shape: tuple[int, int]) -> Mask | None:
    """The lungs of an image of `shape`; None without a mask of them, or where it is empty."""
    mask = None if truth.lungs is None else read_mask(truth.lungs, shape)
    return mask if mask is not None and mask.any() else None


def measure(region: Region, finding: Finding) -> dict[str, float]:
    """IoU of the boxes and of the masks, whether the one that counts is over `SHARES`, the pointing game, and
    the pixel AUC.
    """
    fits = {"iou_box": box_fit(region.box, finding), "iou_mask": mask_iou(region.mask, finding.mask)}
    counts = fits[IOU[str(kind_of(finding.kind))]]
    over = {f"over_{share:g}": float(counts >= share) for share in SHARES}
    pointing = float(pointing_hit(region.attention, finding.mask))
    return {**fits, **over, "pointing": pointing, "pixel_auc": pixel_auc(region.attention, finding.mask)}


def pixel_auc(values: Floats, mask: Mask) -> float:
    """The chance that a pixel of the finding has more of a map [H,W] than one beside it; ties count half.

    0.5: the map says nothing of the place. Of an image larger than `AUC_SIDE` the pixels of a regular grid.
    Also 0.5 where the finding fills the image, or the grid has none of its pixels.
    """
    step = -(-max(mask.shape) // AUC_SIDE)
    found = auc(mask[::step, ::step].ravel(), values[::step, ::step].ravel())
    return found if np.isfinite(found) else 0.5


def box_fit(box: Box | None, finding: Finding) -> float:
    """The IoU of a box: with one true box as numbers, with several as their union, else with the box around
    the true mask.
    """
    if box is None:
        return 0.0
    boxes = finding.truth.boxes
    if len(boxes) > 1:
        shape = (finding.mask.shape[0], finding.mask.shape[1])
        return mask_iou(boxes_mask([box], shape), boxes_mask(boxes, shape))
    true = boxes[0] if boxes else enclosing_box(finding.mask)
    return 0.0 if true is None else box_iou(box, true)
