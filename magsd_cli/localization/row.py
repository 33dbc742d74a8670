"""The row of the localization table: one image, what was marked on it, and how well that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict, cast

from magsd_cli.artifacts.tables import IN_TRAINING_DATA, path_text, probability_column
from magsd_cli.localization.choice import Choice
from magsd_cli.localization.measure import AttendedImage, KnownTruth, measure
from magsd_cli.localization.regions import Region, share_inside
from magsd_cli.localization.views import View
from magsd_cli.localization.zones import zone_correlation


class LocalizationRow(TypedDict, total=False):
    """A row of localization.parquet: a file's answer, region and truth, and how well they fit.

    Columns that do not apply are None, or not there yet. Beside these it has a ``p_<class>`` for each class,
    and ``<control>_<measure>`` for each of `LOCALIZATION_CONTROLS` and `LOCALIZATION_MEASURES`.
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
    overlay: str | None
    mask: str | None
    patient_id: str | None
    threshold_from: str | None
    threshold_images: int | None
    lungs_inside: float | None
    lungs_share: float | None
    map: str | None
    box_rule: str | None
    chosen_on: int | None
    pixel_auc: float | None
    zones: float | None
    zones_status: str | None
    readers_zones: float | None


def number_in(row: LocalizationRow, column: str) -> float:
    """The number in a column of a row; a truth value is 0 or 1. Raises `TypeError` where there is none."""
    return float(cast("float", row.get(column)))


def localization_row(
    attended: AttendedImage, region: Region, known: KnownTruth, choice: Choice, classes: Sequence[str]
) -> LocalizationRow:
    """The columns of the localization table for one image, but for those of the controls and the pictures."""
    view, best = attended.view, int(attended.probabilities.argmax())
    x, y, width, height = region.box or (None,) * 4
    finding = known.finding
    row: LocalizationRow = {
        **_common(view),
        "warnings": [*view.warnings, *([IN_TRAINING_DATA] if attended.unseen is False else [])],
        "predicted": classes[best],
        "confidence": float(attended.probabilities[best]),
        "image_width": view.shape[1],
        "image_height": view.shape[0],
        "map": choice.map,
        "box_rule": choice.rule,
        "chosen_on": choice.chosen_on,
        "threshold": choice.threshold.value,
        "threshold_from": choice.threshold.source,
        "threshold_images": choice.threshold.images,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "area_share": region.area_share,
        "folds": list(attended.folds),
        "unseen": attended.unseen,
        "truth": finding.kind if finding else None,
        "label": finding.label or None if finding else None,
        "patient_id": attended.patient,
        "zones_status": known.zones_status,
    }
    probabilities = zip(classes, attended.probabilities, strict=True)
    shares = {probability_column(name): float(p) for name, p in probabilities}
    return with_columns(row, {**shares, **_fit(attended, region, known, choice)})


def _fit(attended: AttendedImage, region: Region, known: KnownTruth, choice: Choice) -> dict[str, object]:
    """How well the region and its map fit what is known of the image."""
    fit: dict[str, object] = {}
    values = attended.maps[choice.map]
    if known.finding is not None:
        found = measure(region, known.finding)
        fit |= {name: found[name] for name in ("iou_box", "iou_mask", "pixel_auc")}
        fit["pointing_hit"] = bool(found["pointing"])
    if known.lungs is not None:
        fit["lungs_inside"] = share_inside(values, known.lungs, attended.view.frame)
        fit["lungs_share"] = float(known.lungs.mean())
    if known.zones is not None:
        fit["zones"] = zone_correlation(values, known.zones)
        fit["readers_zones"] = known.zones.scores.agreement
    return fit


def with_columns(row: LocalizationRow, columns: Mapping[str, object]) -> LocalizationRow:
    """The row with columns whose names depend on the classes or on what was measured."""
    return cast("LocalizationRow", {**row, **columns})


def error_row(view: View) -> LocalizationRow:
    """The row of a file that could not be read."""
    return {**_common(view), "error_code": view.error_code, "error": view.error, "warnings": []}


def _common(view: View) -> LocalizationRow:
    status = "error" if view.image is None else "ok"
    return {"path": path_text(view.path), "sha256": view.sha256 or None, "status": status}
