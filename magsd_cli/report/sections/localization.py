"""The localization of lesions: IoU and pointing game against truth, next to two kinds of chance."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from magsd_cli.evaluation.facts import Facts
from magsd_cli.localization.measure import LocalizationRow
from magsd_cli.localization.pictures import iou_histogram, shown_ious
from magsd_cli.localization.scores import CONTROLS, Score, figure_of, figures_by_kind
from magsd_cli.localization.words import EVIDENCE, KINDS, MEASURES, sentence, threshold_words
from magsd_cli.render.document import (
    Block,
    Bullets,
    Caution,
    Commands,
    Drawing,
    Figure,
    Heading,
    Paragraph,
    Table,
    interval_text,
    not_available,
    percent,
)
from magsd_cli.settings import Map

CAPTION = (
    "Attention against truth (eq. 12; boxes: the box around the attended region, masks: the region itself), "
    "in percent; 95% intervals by bootstrap over patients. Controls: the attention of other patients' "
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


def localization_table(rows: Sequence[LocalizationRow]) -> Table | None:
    """The figures of localization rows; None when no image that counts has a truth."""
    lines = [
        _line(f"{KINDS[kind]} ({figures['n']}), {MEASURES[name]}", found)
        for kind, figures in figures_by_kind(rows).items()
        for name in MEASURES
        if (found := figure_of(figures, name)) is not None
    ]
    head = ["truth (images), measure", "mean [95% interval]"]
    head += ["shuffled", "gain [95% interval]", "untrained", "gain [95% interval]", "lungs' area", "gain"]
    if not any(line[-2] for line in lines):
        head, lines = head[:-2], [line[:-2] for line in lines]
    return Table(CAPTION, tuple(head), tuple(lines)) if lines else None


def _line(name: str, figure: Score) -> tuple[str, ...]:
    cells = [name, f"{percent(figure['mean'], digits=1)} {interval_text(figure['interval95'])}"]
    for control in (*CONTROLS, "area"):
        found = figure["controls"].get(control)
        if found is None:
            cells += ["", ""] if control == "area" else ["n/a", "n/a"]
            continue
        gain = f"{100 * found['gain']:+.1f} {interval_text(found['gain_interval95'], signed=True)}"
        cells += [percent(found["mean"], digits=1), gain]
    return tuple(cells)


def localization_blocks(
    name: str, rows: Sequence[LocalizationRow], panel: bytes | None, number: int
) -> list[Block]:
    """Show what `magsd localize` found in its folder `name`: sentences, the table, the histogram and the
    panel.
    """
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
        blocks.append(
            Figure(f"localization-{number + 1}-iou", histogram, _histogram_in_words(rows), HISTOGRAM)
        )
    if panel is not None:
        words = "; ".join(
            f"{KINDS[kind]}, IoU from top to bottom {', '.join(f'{value:.2f}' for value in values)}"
            for kind, values in shown_ious(ok).items()
        )
        alt = f"Chest X-rays in rows: the image, its truth, its attention and what was marked. {words}."
        blocks.append(Figure(f"localization-{number + 1}-panel", Drawing(panel), alt, PANEL))
    return blocks


def _histogram_in_words(rows: Sequence[LocalizationRow]) -> str:
    """How the IoU is distributed, for those who cannot see it."""
    words = []
    for kind, figures in figures_by_kind(rows).items():
        over = [
            f"{percent(found['mean'], digits=0)}% {MEASURES[name].removeprefix('IoU ')}"
            for name in ("over_0.25", "over_0.5")
            if (found := figure_of(figures, name)) is not None
        ]
        if over:
            words.append(f"{KINDS[kind]}, {figures['n']} images: {' and '.join(over)}")
    return f"How many images reach which IoU. {'; '.join(words)}."


def localization_section(facts: Facts) -> list[Block]:
    """Show what `magsd localize` found with the networks of this run."""
    results = facts.results
    model = results.hashes.get("networks that predicted", "")
    blocks: list[Block] = [Heading("Localization")]
    for number, found in enumerate(facts.localizations):
        if found.problem is not None:
            blocks.append(Caution(f"A localization could not be read: {found.problem}"))
        elif found.model_sha256 == model:
            part = localization_blocks(found.name, found.rows, found.panel, number)
            if found.map == Map.evidence:
                part.insert(
                    1,
                    Paragraph(f"W{EVIDENCE[1:]}. Where this section says attention, it means this evidence."),
                )
            blocks += part
    if len(blocks) == 1:
        command = shlex.join(["magsd", "localize", "IMAGES", "--model", str(results.run.path)])
        blocks.append(not_available("nothing was localized with this run"))
        blocks.append(Commands((f"{command} --boxes boxes.csv --masks masks/ --lungs lungs/",)))
    return blocks
