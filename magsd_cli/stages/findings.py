"""The rows of a localization table, and the pictures that show some of them together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import write_bytes
from magsd_cli.artifacts.localizations import histogram_path, mask_path, overlay_path, panel_path
from magsd_cli.artifacts.tables import path_text, probability_column
from magsd_cli.inference.regions import Mask, Region, find_region, share_inside
from magsd_cli.inference.views import View
from magsd_cli.metrics.localization import BOXES, IOU, LUNGS, MASK, kind_of
from magsd_cli.reporting.localized import KINDS, iou_histogram
from magsd_cli.reporting.overlays import Overlay, draw_overlay
from magsd_cli.reporting.panel import PanelRow, draw_panel
from magsd_cli.stages.captions import overlay_of, panel_row
from magsd_cli.stages.controls import Held, Threshold
from magsd_cli.stages.marking import Marked, Target, describe_truth, measure
from magsd_cli.stages.trained import IN_TRAINING_DATA, Model

Row = dict[str, Any]
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
    row = _row(answer, region, aim, threshold, model) | {"patient_id": patient}
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


def _row(answer: Marked, region: Region, aim: Target | None, threshold: Threshold, model: Model) -> Row:
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
