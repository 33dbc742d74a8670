"""`magsd localize`: where the network looked, as pictures, masks and boxes, and how that fits the truth."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from magsd_cli import __version__
from magsd_cli.artifacts.files import lock, sha256_bytes, sweep_orphans, write_bytes
from magsd_cli.artifacts.localizations import (
    finished_summary,
    localization_path,
    lock_path,
    mask_path,
    overlay_path,
    table_path,
    write_summary,
)
from magsd_cli.artifacts.tables import LOCALIZATION, path_text, probability_column, table_schema, write_table
from magsd_cli.console import progress, say
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import NoInputError
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.inference.regions import Region, find_region
from magsd_cli.inference.truth import Truth, read_truth
from magsd_cli.inference.views import View, view_files
from magsd_cli.metrics.localization import summarise
from magsd_cli.reporting.overlays import draw_overlay
from magsd_cli.stages.captions import in_words, overlay_of
from magsd_cli.stages.engines import asker
from magsd_cli.stages.judgement import rules_of
from magsd_cli.stages.marking import MEASURES, Marked, Target, chance, describe_truth, mark, measure, target
from magsd_cli.stages.trained import IN_TRAINING_DATA, Model, open_model

Row = dict[str, Any]


@dataclass
class Findings:
    """What the pass over the images gathers: a row each, and the truth and attention for the control."""

    rows: dict[Path, Row] = field(default_factory=dict)
    aims: dict[Path, Target] = field(default_factory=dict)
    attention: dict[Path, npt.NDArray[np.float32]] = field(default_factory=dict)


def localize(
    *,
    inputs: Sequence[Path],
    model: Path | None,
    runs: Path,
    boxes: Path | None = None,
    masks: Path | None = None,
    threshold: float = 0.5,
    name: str | None = None,
    device: str = "auto",
) -> tuple[Path, int]:
    """Mark on each image where the run `model` (None: the newest) looked; measure it where truth is given.

    Leaves ``runs/localize/<name>/`` with overlays, masks, ``localization.parquet`` and ``summary.json``;
    started again with the same question, it has nothing to do. `boxes` is a CSV, `masks` a folder (see
    `inference.truth`), `threshold` the share of the attention's maximum. Returns the folder and 0, or 3 when
    an image has an error row. Raises `NoInputError` when no image could be used, and the contract's others.
    """
    files = list_inputs(inputs)
    if not files:
        names = ", ".join(str(path) for path in inputs[:3])
        raise NoInputError(f"{names}: no files there; name images or folders of images")
    truth = read_truth(files, boxes, masks)
    opened = open_model(model, runs)
    request = _request(opened, files, truth, threshold)
    folder = localization_path(runs, name or f"{opened.name[:100]}-{request[:8]}")
    with lock(lock_path(folder)):
        summary = finished_summary(folder, request)
        if summary is None:
            for part in (folder, folder / "overlays", folder / "masks"):
                sweep_orphans(part)
            say(f"{len(files)} files, {len(truth)} of them with truth")
            found = _look(opened, files, truth, threshold, folder, device)
            summary = _finish(opened, found, threshold, request, folder)
        else:
            say(f"{folder}: is finished, nothing is left to do")
    for line in in_words(summary):
        say(line)
    if summary["ok"] == 0:
        raise NoInputError(f"{len(files)} files: none is an image that can be used; see {table_path(folder)}")
    return folder, 3 if summary["errors"] else 0


def _request(model: Model, files: Sequence[Path], truth: Mapping[Path, Truth], threshold: float) -> str:
    """The hash of the question: same model, same images, same truth, same threshold."""
    asked = [
        [
            path_text(path),
            _content(path),
            [list(box) for box in truth[path].boxes] if path in truth else None,
            _content(mask) if path in truth and (mask := truth[path].mask) else None,
        ]
        for path in files
    ]
    temperature = rules_of(model).temperature
    text = json.dumps([__version__, model.sha256, threshold, asked, *([temperature] if temperature else [])])
    return sha256_bytes(text.encode())


def _content(path: Path) -> str:
    try:
        return sha256_bytes(read_bytes(path))
    except DecodeError as error:
        return error.code


def _look(
    model: Model,
    files: Sequence[Path],
    truth: Mapping[Path, Truth],
    threshold: float,
    folder: Path,
    device: str,
) -> Findings:
    """One pass over the images: decode, ask, mark, measure, draw."""
    ask = asker(model, device)
    fold_of = model.fold_of_content()
    names = _picture_names(files)
    found = Findings()
    hands = min(max(1, (os.cpu_count() or 1) // 2), len(files))
    with progress("localize", len(files)) as bar:
        for views in view_files(files, model.preparation, hands):
            for answer in mark(views, model, ask, fold_of):
                if isinstance(answer, View):
                    found.rows[answer.path] = _error_row(answer)
                else:
                    path = answer.view.path
                    _keep(answer, truth.get(path), model, threshold, folder, names[path], found)
                bar.update(1)
    return found


def _keep(
    answer: Marked,
    truth: Truth | None,
    model: Model,
    threshold: float,
    folder: Path,
    name: str,
    found: Findings,
) -> None:
    """Measure one image, write its mask and its overlay, and note its row."""
    view = answer.view
    region = find_region(answer.attention, view.shape, threshold)
    aim = target(truth, view.shape)
    fit = dict(zip(MEASURES, measure(region, aim) if aim else (None,) * 3, strict=True))
    row = _row(answer, region, aim, fit, threshold, model)
    row |= {"overlay": f"overlays/{name}.png", "mask": f"masks/{name}.png"}
    write_bytes(mask_path(folder, name), _png(region.mask.astype(np.uint8) * 255))
    picture = draw_overlay(overlay_of(answer, region, aim, row, model.classes))
    write_bytes(overlay_path(folder, name), _png(picture[..., ::-1]))
    found.rows[view.path] = row
    if aim is not None and answer.unseen is not False:
        found.aims[view.path] = aim
        found.attention[view.path] = answer.attention


def _row(
    answer: Marked,
    region: Region,
    aim: Target | None,
    fit: Mapping[str, float | None],
    threshold: float,
    model: Model,
) -> Row:
    view, best = answer.view, int(answer.probabilities.argmax())
    x, y, width, height = region.box or (None,) * 4
    hit = fit["pointing"]
    return {
        **_common(view),
        "warnings": [*view.warnings, *([IN_TRAINING_DATA] if answer.unseen is False else [])],
        "predicted": model.classes[best],
        **{probability_column(c): float(p) for c, p in zip(model.classes, answer.probabilities, strict=True)},
        "confidence": float(answer.probabilities[best]),
        "image_width": view.shape[1],
        "image_height": view.shape[0],
        "threshold": threshold,
        "x": x,
        "y": y,
        "width": width,
        "height": height,
        "area_share": region.area_share,
        "folds": list(answer.folds),
        "unseen": answer.unseen,
        **describe_truth(aim),
        "iou_box": fit["iou_box"],
        "iou_mask": fit["iou_mask"],
        "pointing_hit": None if hit is None else bool(hit),
    }


def _error_row(view: View) -> Row:
    return _common(view) | {"error_code": view.error_code, "error": view.error, "warnings": []}


def _common(view: View) -> Row:
    status = "error" if view.image is None else "ok"
    return {"path": path_text(view.path), "sha256": view.sha256 or None, "status": status}


def _finish(model: Model, found: Findings, threshold: float, request: str, folder: Path) -> dict[str, Any]:
    """Add the control, write the table and then the summary."""
    controls = chance(found.aims, found.attention, threshold)
    for path, values in controls.items():
        control = dict(zip(("control_iou_box", "control_iou_mask", "control_pointing"), values, strict=True))
        found.rows[path] |= control
    schema = table_schema(LOCALIZATION, model.classes)
    rows = [dict.fromkeys(schema.names) | row | {"model_sha256": model.sha256} for row in found.rows.values()]
    metadata = model.metadata() | {"threshold": threshold}
    write_table(pa.Table.from_pylist(rows, schema=schema), table_path(folder), LOCALIZATION, metadata)
    summary = _summary(rows, found) | {
        "request": request,
        "model": model.name,
        "model_sha256": model.sha256,
        "threshold": threshold,
        "version": __version__,
    }
    write_summary(folder, summary)
    return summary


def _summary(rows: Sequence[Row], found: Findings) -> dict[str, Any]:
    ok = [row for row in rows if row["status"] == "ok"]
    measured = [found.rows[path] for path in found.aims]
    figures = {
        name: summarise(
            [float(row["pointing_hit" if name == "pointing" else name]) for row in measured],
            [row.get(f"control_{name}") for row in measured],
        )
        for name in MEASURES
    }
    with_truth = sum(row["truth"] is not None for row in ok)
    return {
        "files": len(rows),
        "ok": len(ok),
        "errors": len(rows) - len(ok),
        "with_truth": with_truth,
        "measured": len(measured),
        "left_out_as_training_data": with_truth - len(measured),
        "own_data_by_its_unseen_fold": sum(row["unseen"] is True and len(row["folds"]) == 1 for row in ok),
        "control": "the attention that the same networks gave to other images with truth",
        "area_share": float(np.mean([row["area_share"] for row in ok])) if ok else None,
        "true_area_share": float(np.mean([aim.mask.mean() for aim in found.aims.values()]))
        if measured
        else None,
        **figures,
    }


def _picture_names(files: Sequence[Path]) -> dict[Path, str]:
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
