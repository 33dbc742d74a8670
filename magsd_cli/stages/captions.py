"""What localize says: the text under an overlay, and the figures in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magsd_cli.console import printable
from magsd_cli.inference.regions import Region
from magsd_cli.reporting.overlays import Overlay
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
    words = {"iou_box": "IoU of the boxes", "iou_mask": "IoU of the masks", "pointing": "pointing game"}
    for name, text in words.items():
        if summary[name]["n"]:
            lines.append(_figure_in_words(text, summary[name], pointing=name == "pointing"))
    return lines


def _figure_in_words(text: str, figures: Mapping[str, Any], pointing: bool) -> str:
    line = f"{text}, {figures['n']} images: mean {figures['mean']:.3f}"
    if figures["interval95"]:
        line += " [{:.3f}, {:.3f}]".format(*figures["interval95"])
    if not pointing:
        line += f", median {figures['median']:.3f}, over 0.25: {100 * figures['over_0.25']:.0f}%"
        line += f", over 0.5: {100 * figures['over_0.5']:.0f}%"
    if "control" in figures:
        low, high = figures["over_control_interval95"]
        verdict = "better than chance" if low > 0 else "not shown to be better than chance"
        if high < 0:
            verdict = "worse than chance"
        line += f"; chance {figures['control']:.3f}, difference [{low:.3f}, {high:.3f}]: {verdict}"
    return line
