"""The pictures of a localization: overlay and mask of an image, Fig. 7's panel, the histogram of the IoU."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import write_bytes
from magsd_cli.console import printable
from magsd_cli.inference.model import Model
from magsd_cli.localization.folder import histogram_path, mask_path, overlay_path, panel_path
from magsd_cli.localization.measure import (
    Marked,
    Row,
    Target,
    Threshold,
    localization_row,
)
from magsd_cli.localization.regions import Mask, Region, find_region, share_inside
from magsd_cli.localization.scores import BOXES, CONTROLS, IOU, LUNGS, MASK, kind_of
from magsd_cli.localization.threshold import Held
from magsd_cli.localization.words import KINDS
from magsd_cli.render.charts import iou_figure
from magsd_cli.render.fig7_panel import PanelRow, draw_panel
from magsd_cli.render.overlays import Overlay, draw_overlay

#: Which images the panel shows, as quantiles of the IoU of their kind.
SHOWN = (1.0, 0.75, 0.5, 0.25)


def settle(
    answer: Marked,
    aim: Target | None,
    lungs: Mask | None,
    patient: str | None,
    threshold: Threshold,
    model: Model,
    folder: Path,
    name: str,
) -> Row:
    """Measure one image, write its mask and its overlay into `folder`, and return its row."""
    region = find_region(answer.attention, answer.view.shape, threshold.value)
    row = localization_row(answer, region, aim, threshold, model) | {"patient_id": patient}
    if lungs is not None:
        row |= {
            "lungs_inside": share_inside(answer.attention, lungs),
            "lungs_share": float(lungs.mean()),
        }
    row |= {"overlay": f"overlays/{name}.png", "mask": f"masks/{name}.png"}
    write_bytes(mask_path(folder, name), _png(region.mask.astype(np.uint8) * 255))
    picture = draw_overlay(overlay_of(answer, region, aim, row, model.classes))
    write_bytes(overlay_path(folder, name), _png(picture[..., ::-1]))
    return row


def draw_findings(
    folder: Path, rows: Mapping[Path, Row], held: Mapping[Path, Held], classes: Sequence[str]
) -> None:
    """The panel of Fig. 7 and the histogram of the IoU, of the images that count; nothing without any."""
    counted = [path for path in held if rows[path]["unseen"] is not False]
    histogram = iou_histogram([rows[path] for path in counted])
    if histogram is not None:
        write_bytes(histogram_path(folder), histogram)
    groups = []
    for kind in (BOXES, MASK, LUNGS):
        paths = _of_kind(kind, counted, rows)
        if paths:
            title = f"{KINDS[kind]}: {len(SHOWN)} of {len(paths)} images, from the best to the lower quartile"
            shown = [_panel_row(rows[path], held[path], classes) for path in _quantiles(paths)]
            groups.append((title if len(paths) > len(SHOWN) else KINDS[kind], shown))
    if groups:
        write_bytes(panel_path(folder), _png(draw_panel(groups)[..., ::-1]))


def _of_kind(kind: str, paths: Sequence[Path], rows: Mapping[Path, Row]) -> list[Path]:
    """The images of one kind, the worst first; for lungs those about which nothing else is known."""
    if kind == LUNGS:
        found = [path for path in paths if rows[path]["truth"] is None]
        return sorted(found, key=lambda path: (rows[path]["lungs_inside"] - rows[path]["lungs_share"], path))
    found = [path for path in paths if kind_of(rows[path]["truth"]) == kind]
    return sorted(found, key=lambda path: (rows[path][IOU[kind]], path))


def _quantiles(paths: Sequence[Path]) -> list[Path]:
    places = dict.fromkeys(round(quantile * (len(paths) - 1)) for quantile in SHOWN)
    return [paths[place] for place in places]


def _panel_row(row: Row, one: Held, classes: Sequence[str]) -> PanelRow:
    answer = one.answer
    region = find_region(answer.attention, answer.view.shape, row["threshold"])
    overlay: Overlay = overlay_of(answer, region, one.aim, row, classes)
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


def iou_histogram(rows: Sequence[Mapping[str, Any]]) -> bytes | None:
    """How the IoU is distributed over the images of each kind of truth, as PNG; None without any."""
    charts = {}
    for kind, iou in IOU.items():
        part = [
            row
            for row in rows
            if row["unseen"] is not False and kind_of(row["truth"]) == kind and row[iou] is not None
        ]
        columns = {"attention": iou} | {name: f"{prefix}{iou}" for name, prefix in CONTROLS.items()}
        series = {
            name: np.array([row[column] for row in part], np.float64)
            for name, column in columns.items()
            if part and all(row[column] is not None for row in part)
        }
        if series:
            charts[f"{KINDS[kind]}, {len(part)} images"] = series
    return iou_figure(charts) if charts else None


def overlay_of(
    answer: Marked, region: Region, aim: Target | None, row: Mapping[str, Any], classes: Sequence[str]
) -> Overlay:
    """The picture's content, in words and in the image's pixels."""
    assert answer.view.shown is not None
    shares = sorted(zip(answer.probabilities, classes, strict=True), reverse=True)
    (first, best), *others = shares
    title = f"{printable(best)} {100 * first:.1f} %"
    if others:
        title += "   (" + ", ".join(f"{printable(label)} {100 * p:.1f} %" for p, label in others) + ")"
    lines = [printable(answer.view.path.name)]
    if row.get("lungs_inside") is not None:
        lines.append(_lungs_in_words(row))
    if aim is not None:
        label = f"true finding: {printable(aim.label)} · " if aim.label else ""
        hit = "inside" if row["pointing_hit"] else "outside"
        lines.append(
            f"{label}IoU of the boxes {row['iou_box']:.2f}, of the masks {row['iou_mask']:.2f}"
            f" · strongest attention {hit} the finding"
        )
    lines.append(f"{_networks(answer)} · threshold {row['threshold']:g} of the attention's range")
    return Overlay(
        answer.view.shown,
        region.attention,
        region.mask,
        region.box,
        aim.mask if aim is not None and aim.truth.mask else None,
        aim.truth.boxes if aim is not None else (),
        title,
        lines,
    )


def panel_row(overlay: Overlay, row: Mapping[str, Any], lungs: Mask | None) -> PanelRow:
    """The same image as a row of the Fig. 7 panel; where only the lungs are known they are the truth."""
    name = printable(Path(row["path"]).name)
    short = name if len(name) <= 60 else f"{name[:29]}…{name[-30:]}"
    if row["truth"] is None:
        return PanelRow(replace(overlay, true_mask=lungs), f"{_lungs_in_words(row)} · {short}")
    boxed = kind_of(row["truth"]) == BOXES
    iou = row[IOU[str(kind_of(row["truth"]))]]
    shown = replace(overlay, true_mask=None) if boxed else replace(overlay, true_boxes=())
    return PanelRow(shown, f"IoU {iou:.2f} · {short}", boxed)


def _lungs_in_words(row: Mapping[str, Any]) -> str:
    return (
        f"{100 * row['lungs_inside']:.0f}% of the attention inside the lungs, "
        f"which are {100 * row['lungs_share']:.0f}% of the image"
    )


def _networks(answer: Marked) -> str:
    if answer.unseen is False:
        return "the networks were trained on this image"
    if len(answer.folds) == 1 and answer.unseen:
        return f"network of fold {answer.folds[0] + 1}, which never saw this image"
    return f"mean of {len(answer.folds)} networks"
