"""What localize says: the text under an overlay, and the figures in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magsd_cli.console import printable
from magsd_cli.inference.regions import Mask, Region
from magsd_cli.metrics.localization import BOXES, IOU, kind_of
from magsd_cli.reporting.localized import sentence
from magsd_cli.reporting.overlays import Overlay
from magsd_cli.reporting.panel import PanelRow
from magsd_cli.stages.marking import Marked, Target


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


def in_words(summary: Mapping[str, Any]) -> list[str]:
    """The figures for people: with chance beside them, and what they are not of."""
    lines = [f"localize: {summary['files']} files, {summary['ok']} ok, {summary['errors']} with an error"]
    if summary["own_data_by_its_unseen_fold"]:
        lines.append(
            f"{summary['own_data_by_its_unseen_fold']} images are the run's own: each was shown only to the "
            "network of its fold, which never saw it"
        )
    if summary["left_out_as_training_data"]:
        lines.append(
            f"{summary['left_out_as_training_data']} images with truth are left out of the figures: "
            "every network was trained on them"
        )
    if summary["possibly_training_data"]:
        lines.append(
            f"{summary['possibly_training_data']} images with truth are in the figures and may be training "
            "data: the run's cache is gone"
        )
    lines += list(summary["thresholds"].values())
    return lines + [sentence(kind, figures) for kind, figures in summary["kinds"].items()]
