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
from magsd_cli.localization.folder import histogram_path, mask_path, overlay_path, panel_path
from magsd_cli.localization.measure import (
    BOXES,
    IOU,
    LUNGS,
    MASK,
    AttendedImage,
    Finding,
    LocalizationRow,
    Threshold,
    kind_of,
    localization_row,
    number_in,
)
from magsd_cli.localization.regions import Mask, Region, find_region, share_inside
from magsd_cli.localization.scores import CONTROLS
from magsd_cli.localization.threshold import PendingImage
from magsd_cli.localization.words import KINDS
from magsd_cli.render.charts import iou_figure
from magsd_cli.render.document import Drawing
from magsd_cli.render.fig7_panel import PanelRow, draw_panel
from magsd_cli.render.overlays import Overlay, draw_overlay

_T = TypeVar("_T")

#: Which images the panel shows, as quantiles of the IoU of their kind.
SHOWN = (1.0, 0.75, 0.5, 0.25)


def finish_image(
    attended: AttendedImage,
    finding: Finding | None,
    lungs: Mask | None,
    threshold: Threshold,
    classes: Sequence[str],
    folder: Path,
    name: str,
) -> LocalizationRow:
    """Measure one image, write its mask and its overlay into `folder`, and return its row."""
    region = find_region(attended.attention, attended.view.shape, threshold.value)
    row = localization_row(attended, region, finding, threshold, classes)
    if lungs is not None:
        row["lungs_inside"] = share_inside(attended.attention, lungs, attended.view.frame)
        row["lungs_share"] = float(lungs.mean())
    row["overlay"], row["mask"] = f"overlays/{name}.png", f"masks/{name}.png"
    write_bytes(mask_path(folder, name), _png(region.mask.astype(np.uint8) * 255))
    picture = draw_overlay(overlay_of(attended, region, finding, row, classes))
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
    for kind in (BOXES, MASK, LUNGS):
        paths = _of_kind(kind, counted, rows)
        if paths:
            title = f"{KINDS[kind]}: {len(SHOWN)} of {len(paths)} images, from the best to the lower quartile"
            shown = [_panel_row(rows[path], pending[path], classes) for path in _quantiles(paths)]
            groups.append((title if len(paths) > len(SHOWN) else KINDS[kind], shown))
    if groups:
        write_bytes(panel_path(folder), _png(draw_panel(groups)[..., ::-1]))


def _of_kind(kind: str, paths: Sequence[Path], rows: Mapping[Path, LocalizationRow]) -> list[Path]:
    """The images of one kind, the worst first; for lungs those about which nothing else is known."""
    if kind == LUNGS:
        found = [path for path in paths if rows[path]["truth"] is None]
        gain = {
            path: number_in(rows[path], "lungs_inside") - number_in(rows[path], "lungs_share")
            for path in found
        }
        return sorted(found, key=lambda path: (gain[path], path))
    found = [path for path in paths if kind_of(rows[path]["truth"]) == kind]
    return sorted(found, key=lambda path: (number_in(rows[path], IOU[kind]), path))


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
    region = find_region(attended.attention, attended.view.shape, number_in(row, "threshold"))
    overlay = overlay_of(attended, region, one.finding, row, classes)
    return panel_row(overlay, row, one.lungs)


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
        columns = {"attention": iou} | {name: f"{prefix}{iou}" for name, prefix in CONTROLS.items()}
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
    finding: Finding | None,
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
    if row.get("lungs_inside") is not None:
        lines.append(_lungs_in_words(row))
    if finding is not None:
        label = f"true finding: {printable(finding.label)} · " if finding.label else ""
        hit = "inside" if row["pointing_hit"] else "outside"
        lines.append(
            f"{label}IoU of the boxes {row['iou_box']:.2f}, of the masks {row['iou_mask']:.2f}"
            f" · strongest attention {hit} the finding"
        )
    lines.append(f"{_networks(attended)} · threshold {row['threshold']:g} of the attention's range")
    return Overlay(
        attended.view.shown,
        region.attention,
        region.mask,
        region.box,
        finding.mask if finding is not None and finding.truth.mask else None,
        finding.truth.boxes if finding is not None else (),
        title,
        lines,
    )


def panel_row(overlay: Overlay, row: LocalizationRow, lungs: Mask | None) -> PanelRow:
    """Make a row of the Fig. 7 panel from the image; where only the lungs are known they are the truth."""
    name = printable(Path(row["path"]).name)
    short = name if len(name) <= 60 else f"{name[:29]}…{name[-30:]}"
    if row["truth"] is None:
        return PanelRow(replace(overlay, true_mask=lungs), f"{_lungs_in_words(row)} · {short}")
    boxed = kind_of(row["truth"]) == BOXES
    iou = number_in(row, IOU[str(kind_of(row["truth"]))])
    shown = replace(overlay, true_mask=None) if boxed else replace(overlay, true_boxes=())
    return PanelRow(shown, f"IoU {iou:.2f} · {short}", boxed)


def _lungs_in_words(row: LocalizationRow) -> str:
    inside, share = number_in(row, "lungs_inside"), number_in(row, "lungs_share")
    return f"{100 * inside:.0f}% of the attention inside the lungs, which are {100 * share:.0f}% of the image"


def _networks(attended: AttendedImage) -> str:
    if attended.unseen is False:
        return "the networks were trained on this image"
    if len(attended.folds) == 1 and attended.unseen:
        return f"network of fold {attended.folds[0]}, which never saw this image"
    return f"mean of {len(attended.folds)} networks"
