"""How well attention finds the lesions: IoU and pointing game against truth, next to two kinds of chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from magsd_cli.metrics.localization import (
    BOXES,
    CONTROLS,
    IOU,
    LUNGS,
    MASK,
    figures_by_kind,
    kind_of,
    verdict,
)
from magsd_cli.reporting.document import Block, Bullets, Caution, Figure, Paragraph, Table, percent
from magsd_cli.reporting.figures import iou_figure

Row = Mapping[str, Any]
KINDS = {BOXES: "Boxes", MASK: "Masks", LUNGS: "Lungs"}
MEASURES = {
    "iou": "IoU",
    "over_0.25": "IoU over 0.25",
    "over_0.5": "IoU over 0.5",
    "pointing": "pointing game",
    "inside": "attention inside",
}
CHANCES = {
    "area": "the lungs' share of the image",
    "shuffled": "other patients' attention",
    "untrained": "untrained networks",
}
CAPTION = (
    "Attention against truth (eq. 12; boxes: the box around the attended region, masks: the region itself), "
    "in percent; 95 % intervals by bootstrap over patients. Controls: the attention of other patients' "
    "images laid on the same truth, the same networks with untrained weights, and for lungs their share of "
    "the image. A gain whose interval is above 0 is better than that control."
)
HISTOGRAM = (
    "IoU of each image, and under both controls (of the shuffled attention the mean for each image, which "
    "spreads less)."
)
PANEL = (
    "As the paper's Fig. 7: of each kind of truth the images with the best IoU, the upper quartile, the "
    "median and the lower quartile. Truth dashed cyan, prediction yellow."
)


def sentence(kind: str, figures: Mapping[str, Any]) -> str:
    """Whether the attention is better than chance for one kind of truth, in a sentence."""
    main = figures["inside" if kind == LUNGS else "iou"]
    what = "share of the attention inside the lungs" if kind == LUNGS else "mean IoU"
    answers = {name: verdict(control["gain_interval95"]) for name, control in main["controls"].items()}
    words = [
        f"{percent(control['mean'], digits=1)}% for {CHANCES[name]} (difference "
        f"{100 * control['gain']:+.1f} {_interval(control['gain_interval95'])})"
        for name, control in main["controls"].items()
    ]
    text = (
        f"{KINDS[kind]}, {figures['n']} images of {figures['patients']} patients: {what} "
        f"{percent(main['mean'], digits=1)}% {_interval(main['interval95'])}"
    )
    if not words:
        return f"{text}; too few images for a comparison with chance."
    text += f", against {', '.join(words)}. {_conclusion(answers)}"
    return text + (_pointing(figures["pointing"]) if kind != LUNGS else "")


def _conclusion(answers: Mapping[str, str]) -> str:
    """Better than chance is what beats every control."""
    if set(answers.values()) == {"better"}:
        return "The attention is better than chance."
    worse = [CHANCES[name] for name, answer in answers.items() if answer == "worse"]
    if worse:
        return f"The attention is NOT better than chance: it is worse than {' and '.join(worse)}."
    short = [CHANCES[name] for name, answer in answers.items() if answer != "better"]
    return f"The attention is NOT shown to be better than chance: no gain over {' and '.join(short)}."


def _pointing(pointing: Mapping[str, Any]) -> str:
    answers = {verdict(control["gain_interval95"]) for control in pointing["controls"].values()}
    chances = [
        f"{CHANCES[name]} {percent(control['mean'], digits=1)}%"
        for name, control in pointing["controls"].items()
    ]
    what = "better than" if answers == {"better"} else "not shown to be better than"
    return (
        f" Its strongest point lies in the finding in {percent(pointing['mean'], digits=1)}% "
        f"{_interval(pointing['interval95'])} of the images, {what} chance ({', '.join(chances)})."
    )


def threshold_words(rows: Sequence[Row]) -> dict[str, str]:
    """For each kind of truth where its thresholds are from, in a sentence."""
    found = {}
    for kind in IOU:
        part = [row for row in rows if kind_of(row["truth"]) == kind]
        sources = {row["threshold_from"] for row in part}
        if not part or None in sources:
            continue
        low, high = (f"{pick(row['threshold'] for row in part):.2f}" for pick in (min, max))
        value = low if low == high else f"{low} to {high}"
        if sources == {"given"}:
            why = "as given, for all images"
        elif sources == {"default"}:
            why = "the default: too few images of other folds have such a truth to choose one"
        else:
            counts = [row["threshold_images"] for row in part if row["threshold_images"] is not None]
            number = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{counts[0]}"
            why = f"chosen for each fold on the {number} images of the other folds alone"
            if "default" in sources:
                why += "; the default where these are too few"
        found[kind] = f"{KINDS[kind]}: threshold {value} of the attention's range, {why}."
    return found


def localization_table(rows: Sequence[Row]) -> Table | None:
    """The figures of localization rows; None when no image that counts has a truth."""
    lines = [
        _line(f"{KINDS[kind]} ({figures['n']}), {MEASURES[name]}", figures[name])
        for kind, figures in figures_by_kind(rows).items()
        for name in MEASURES
        if name in figures
    ]
    head = ["truth (images), measure", "mean [95 % interval]"]
    head += ["shuffled", "gain [95 % interval]", "untrained", "gain [95 % interval]", "lungs' area", "gain"]
    if not any(line[-2] for line in lines):
        head, lines = head[:-2], [line[:-2] for line in lines]
    return Table(CAPTION, tuple(head), tuple(lines)) if lines else None


def _line(name: str, figure: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [name, f"{percent(figure['mean'], digits=1)} {_interval(figure['interval95'])}"]
    for control in (*CONTROLS, "area"):
        found = figure["controls"].get(control)
        if found is None:
            cells += ["", ""] if control == "area" else ["n/a", "n/a"]
            continue
        gain = f"{100 * found['gain']:+.1f} {_interval(found['gain_interval95'])}"
        cells += [percent(found["mean"], digits=1), gain]
    return tuple(cells)


def _interval(bounds: Sequence[float] | None) -> str:
    return "[n/a]" if bounds is None else f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def iou_histogram(rows: Sequence[Row]) -> bytes | None:
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


def localization_blocks(name: str, rows: Sequence[Row], panel: bytes | None, number: int) -> list[Block]:
    """What `magsd localize` found in its folder `name`: sentences, the table, the histogram and the panel."""
    ok = [row for row in rows if row["status"] == "ok"]
    blocks: list[Block] = [Paragraph(f"From the localization called {name}: {len(ok)} images.")]
    seen = sum(row["unseen"] is False for row in ok)
    unknown = sum(row["unseen"] is None for row in ok)
    if seen:
        blocks.append(Paragraph(f"{seen} of them were trained on, and do not count below."))
    if unknown:
        blocks.append(Caution(f"{unknown} of them may have been trained on (the run's cache is gone)."))
    table = localization_table(rows)
    if table is None:
        return [*blocks, Paragraph("n/a: no image that is unseen in training has a known true lesion.")]
    sentences = [sentence(kind, figures) for kind, figures in figures_by_kind(rows).items()]
    blocks += [Bullets((*sentences, *threshold_words(ok).values())), table]
    histogram = iou_histogram(ok)
    if histogram is not None:
        title = "Distribution of the IoU over the images"
        blocks.append(Figure(f"localization-{number + 1}-iou", histogram, title, HISTOGRAM))
    if panel is not None:
        title = "Image, truth, attention and prediction of some images"
        blocks.append(Figure(f"localization-{number + 1}-panel", panel, title, PANEL))
    return blocks
