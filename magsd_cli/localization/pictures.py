"""The pictures of a localization: overlay and mask of an image, Fig. 7's panel, the histogram of the IoU."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import write_bytes
from magsd_cli.console import printable
from magsd_cli.localization.choice import Choice, PendingImage
from magsd_cli.localization.folder import histogram_path, mask_path, overlay_path, panel_path
from magsd_cli.localization.measure import (
    BOXES,
    IOU,
    LUNGS,
    MASK,
    ZONES,
    AttendedImage,
    KnownTruth,
    kind_of,
)
from magsd_cli.localization.regions import Region, find_region, stretch
from magsd_cli.localization.row import LocalizationRow, localization_row, number_in
from magsd_cli.localization.scores import CONTROLS
from magsd_cli.localization.words import KINDS, choosing_kind
from magsd_cli.localization.zones import ZONES as ZONE_NAMES
from magsd_cli.localization.zones import zone_means
from magsd_cli.render.charts import iou_figure
from magsd_cli.render.document import Drawing
from magsd_cli.render.fig7_panel import PanelRow, draw_panel
from magsd_cli.render.overlays import Overlay, draw_overlay
from magsd_cli.settings import Map

#: Which images the panel shows, as quantiles of the measure of their kind: the best, the worst, two between.
SHOWN = (1.0, 2 / 3, 1 / 3, 0.0)
_T = TypeVar("_T")
IN_HISTOGRAM = ("constant", "brightness", "shuffled", "untrained")


def finish_image(
    attended: AttendedImage,
    known: KnownTruth,
    choice: Choice,
    classes: Sequence[str],
    folder: Path,
    name: str,
) -> LocalizationRow:
    """Measure one image, write its mask and its overlay into `folder`, and return its row."""
    region = find_region(attended.maps[choice.map], attended.view.shape, choice.threshold.value, choice.rule)
    row = localization_row(attended, region, known, choice, classes)
    row["overlay"], row["mask"] = f"overlays/{name}.png", f"masks/{name}.png"
    write_bytes(mask_path(folder, name), _png(region.mask.astype(np.uint8) * 255))
    picture = draw_overlay(overlay_of(attended, region, known, row, classes))
    write_bytes(overlay_path(folder, name), _png(picture[..., ::-1]))
    return row


def draw_overview(
    folder: Path,
    rows: Mapping[Path, LocalizationRow],
    pending: Mapping[Path, PendingImage],
    classes: Sequence[str],
) -> None:
    """The panel of Fig. 7 and the histogram of the IoU, of the images that count; nothing without any."""
    counted = [path for path in pending if rows[path]["unseen"] is not False]
    histogram = iou_histogram([rows[path] for path in counted])
    if histogram is not None:
        write_bytes(histogram_path(folder), histogram.png)
    groups = []
    for kind in (BOXES, MASK, ZONES, LUNGS):
        paths = _of_kind(kind, counted, rows)
        if paths:
            title = f"{KINDS[kind]}: {len(SHOWN)} of {len(paths)} images, from the best to the worst"
            shown = [_panel_row(rows[path], pending[path], classes) for path in _quantiles(paths)]
            groups.append((title if len(paths) > len(SHOWN) else KINDS[kind], shown))
    if groups:
        write_bytes(panel_path(folder), _png(draw_panel(groups)[..., ::-1]))


def _of_kind(kind: str, paths: Sequence[Path], rows: Mapping[Path, LocalizationRow]) -> list[Path]:
    """The images of one kind, the worst first; for lungs those about which nothing else is known."""
    found = [path for path in paths if choosing_kind(rows[path]) == kind]
    return sorted(found, key=lambda path: (_goodness(kind, rows[path]), path))


def _goodness(kind: str, row: LocalizationRow) -> float:
    if kind == LUNGS:
        return number_in(row, "lungs_inside") - number_in(row, "lungs_share")
    return number_in(row, "zones" if kind == ZONES else IOU[kind])


def shown_ious(rows: Sequence[LocalizationRow]) -> dict[str, list[float]]:
    """The IoU of the images that the panel shows, from top to bottom, of each kind of truth that has one."""
    found = {}
    for kind, iou in IOU.items():
        own = [row for row in rows if row["unseen"] is not False and kind_of(row["truth"]) == kind]
        values = sorted(number_in(row, iou) for row in own if row.get(iou) is not None)
        if values:
            found[kind] = _quantiles(values)
    return found


def _quantiles(ordered: Sequence[_T]) -> list[_T]:
    places = dict.fromkeys(round(quantile * (len(ordered) - 1)) for quantile in SHOWN)
    return [ordered[place] for place in places]


def _panel_row(row: LocalizationRow, one: PendingImage, classes: Sequence[str]) -> PanelRow:
    attended = one.attended
    values = attended.maps[str(row["map"])]
    region = find_region(values, attended.view.shape, number_in(row, "threshold"), str(row["box_rule"]))
    return _panel_row_of(overlay_of(attended, region, one.known, row, classes), row, one.known, values)


def picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """A short plain file name for each image's pictures, no two the same even where case does not count."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in files:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", path.stem).lstrip(".")[:80] or "image"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.lower())
        names[path] = name
    return names


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def iou_histogram(rows: Sequence[LocalizationRow]) -> Drawing | None:
    """Draw the distribution of the IoU over the images of each kind of truth, as PNG; None without any."""
    charts = {}
    for kind, iou in IOU.items():
        part = [
            row
            for row in rows
            if row["unseen"] is not False and kind_of(row["truth"]) == kind and row.get(iou) is not None
        ]
        columns = {"attention": iou} | {name: f"{CONTROLS[name]}{iou}" for name in IN_HISTOGRAM}
        series = {
            name: np.array([number_in(row, column) for row in part], np.float64)
            for name, column in columns.items()
            if part and all(row.get(column) is not None for row in part)
        }
        if series:
            charts[f"{KINDS[kind]}, {len(part)} images"] = series
    return iou_figure(charts) if charts else None


def overlay_of(
    attended: AttendedImage,
    region: Region,
    known: KnownTruth,
    row: LocalizationRow,
    classes: Sequence[str],
) -> Overlay:
    """The picture's content, in words and in the image's pixels."""
    assert attended.view.shown is not None
    shares = sorted(zip(attended.probabilities, classes, strict=True), reverse=True)
    (first, best), *others = shares
    title = f"{printable(best)} {100 * first:.1f}%"
    if others:
        title += "   (" + ", ".join(f"{printable(label)} {100 * p:.1f}%" for p, label in others) + ")"
    lines = [printable(attended.view.path.name)]
    finding, zones = known.finding, known.zones
    if row.get("lungs_inside") is not None:
        lines.append(_lungs_in_words(row))
    if zones is not None:
        lines.append(_zones_in_words(row))
    if finding is not None:
        label = f"true finding: {printable(finding.label)} · " if finding.label else ""
        hit = "inside" if row["pointing_hit"] else "outside"
        lines.append(
            f"{label}IoU of the boxes {row['iou_box']:.2f}, of the masks {row['iou_mask']:.2f}"
            f" · strongest attention {hit} the finding"
        )
    marked = "attention" if row["map"] == Map.attention else "evidence for the class"
    lines.append(f"{_networks(attended)} · {marked}, threshold {row['threshold']:g} of its range")
    return Overlay(
        attended.view.shown,
        region.attention,
        region.mask,
        region.box,
        finding.mask if finding is not None and finding.truth.mask else None,
        finding.truth.boxes if finding is not None else (),
        zones.labels if zones is not None else None,
        [f"{name} {score:g}" for name, score in zip(ZONE_NAMES, zones.scores.severity, strict=True)]
        if zones is not None
        else (),
        title,
        lines,
    )


def _panel_row_of(
    overlay: Overlay, row: LocalizationRow, known: KnownTruth, values: npt.NDArray[np.float32]
) -> PanelRow:
    """Make a row of the Fig. 7 panel from the image; where only the lungs are known they are the truth."""
    name = printable(Path(row["path"]).name)
    short = name if len(name) <= 60 else f"{name[:29]}…{name[-30:]}"
    if row["truth"] is None and known.zones is not None:
        severity = np.array(known.zones.scores.severity)
        seen = stretch(zone_means(values, known.zones.labels).astype(np.float32))
        compared = ((severity / severity.max()).tolist(), seen.tolist())
        return PanelRow(overlay, f"{_zones_in_words(row)} · {short}", zone_values=compared)
    if row["truth"] is None:
        return PanelRow(replace(overlay, true_mask=known.lungs), f"{_lungs_in_words(row)} · {short}")
    boxed = kind_of(row["truth"]) == BOXES
    iou = number_in(row, IOU[str(kind_of(row["truth"]))])
    shown = replace(overlay, true_mask=None) if boxed else replace(overlay, true_boxes=())
    return PanelRow(shown, f"IoU {iou:.2f} · {short}", boxed)


def _lungs_in_words(row: LocalizationRow) -> str:
    inside, share = number_in(row, "lungs_inside"), number_in(row, "lungs_share")
    return f"{100 * inside:.0f}% of the attention inside the lungs, which are {100 * share:.0f}% of the image"


def _zones_in_words(row: LocalizationRow) -> str:
    return f"rank correlation with the zones' severity {number_in(row, 'zones'):+.2f}"


def _networks(attended: AttendedImage) -> str:
    if attended.unseen is False:
        return "the networks were trained on this image"
    if len(attended.folds) == 1 and attended.unseen:
        return f"network of fold {attended.folds[0]}, which never saw this image"
    return f"mean of {len(attended.folds)} networks"
