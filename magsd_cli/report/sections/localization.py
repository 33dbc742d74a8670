"""How well attention finds the lesions: against truth, next to what reaches something without looking."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from magsd_cli.evaluation.facts import Facts
from magsd_cli.localization.pictures import iou_histogram, shown_ious
from magsd_cli.localization.row import LocalizationRow
from magsd_cli.localization.scores import Score, figure_of, figures_by_kind, zone_counts
from magsd_cli.localization.words import (
    CHANCES,
    EVIDENCE,
    KINDS,
    MEASURES,
    choice_words,
    gain_words,
    interval_words,
    number,
    sentence,
    threshold_words,
    zones_words,
)
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
    not_available,
    percent,
)
from magsd_cli.settings import BoxRule, Map

CAPTION = (
    "Attention against truth (eq. 12; boxes: the box around the attended region, masks: the region itself), "
    "in percent; rank correlations from -1 to 1. 95% intervals and p by bootstrap over patients, all of the "
    "same samples; p by Holm's rule over the controls of a measure. A gain whose interval is above 0 and "
    "whose p is below 0.05 is better than that control."
)

CONTROL_WORDS = (
    "The controls: the whole film; one box for all films, the best on the images of the other folds (for "
    "zones: their mean severity); the gray of the film itself; the attention of other patients' images laid "
    "on the same truth; the same networks with random weights; and, of a recipe with pretrained weights, "
    "with those before training. Controls with maps have map, box and threshold chosen as the attention has, "
    "each for itself and on other folds."
)

ZONE_WORDS = (
    "Zones: of each film the rank correlation of the attention with the readers' mean severity over six "
    "zones. Each lung's mask is cut into three equal heights; the Brixia score's own lines are anatomical, "
    "so that a zone here is not quite the zone that was scored."
)

HISTOGRAM = (
    "IoU of each image, and under four controls (of the shuffled attention the mean for each image, which "
    "spreads less)."
)

PANEL = (
    "As the paper's Fig. 7: of each kind of truth the best image, two between, and the worst. Truth dashed "
    "cyan, prediction yellow; zones in the colours of attention, by their severity (truth) and by the "
    "attention in them (prediction)."
)


def localization_table(rows: Sequence[LocalizationRow]) -> Table | None:
    """The figures of localization rows; None when no image that counts has a truth."""
    lines = [
        line
        for kind, figures in figures_by_kind(rows).items()
        for name in MEASURES
        if (found := figure_of(figures, name)) is not None
        for line in _lines(f"{KINDS[kind]} ({figures['n']}), {MEASURES[name]}", name, found)
    ]
    head = ("truth (images), measure", "mean [95% interval]", "control", "its mean", "gain [95% interval]")
    return Table(CAPTION, (*head, "p (Holm)"), tuple(lines)) if lines else None


def _lines(words: str, measure: str, score: Score) -> list[tuple[str, ...]]:
    """A line for each control; the measure and its mean stand in the first alone."""
    mean = f"{number(measure, score['mean'])} {interval_words(score['interval95'], measure)}"
    lines: list[tuple[str, ...]] = []
    for name, found in score["controls"].items():
        gain, p = gain_words(measure, found), _p_words(found["p_holm"])
        control = "mean severity of others" if (measure, name) == ("correlation", "constant") else SHORT[name]
        lines.append((words, mean, control, number(measure, found["mean"]), gain, p))
        words = mean = ""
    return lines or [(words, mean, "n/a", "n/a", "n/a", "n/a")]


def _p_words(p: float | None) -> str:
    return "n/a" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


SHORT = CHANCES | {"constant": "one box for all films", "start": "first weights"}


def localization_blocks(
    name: str,
    rows: Sequence[LocalizationRow],
    panel: bytes | None,
    place: int,
    chosen_map: str = Map.attention,
    box: str = BoxRule.largest,
) -> list[Block]:
    """Show what `magsd localize` found in its folder `name`: sentences, the table, the histogram and the
    panel.
    """
    ok = [row for row in rows if row["status"] == "ok"]
    blocks: list[Block] = [Paragraph(f"From the localization called {name}: {len(ok)} images.")]
    if chosen_map == Map.evidence:
        blocks.append(
            Paragraph(f"W{EVIDENCE[1:]}. Where this section says attention, it means this evidence.")
        )
    if chosen_map == Map.chosen:
        blocks.append(
            Paragraph("Where this section says attention, it means the map that was chosen, as said below.")
        )
    seen = sum(row["unseen"] is False for row in ok)
    unknown = sum(row["unseen"] is None for row in ok)
    if seen:
        blocks.append(Paragraph(f"{seen} of them were trained on, and do not count below."))
    if unknown:
        blocks.append(Caution(f"{unknown} of them may have been trained on (the run's cache is missing)."))
    counted = [row for row in ok if row["unseen"] is not False]
    zones = zone_counts(counted)
    table = localization_table(rows)
    if table is None:
        blocks.append(Paragraph("n/a: no image that is unseen in training has a known true lesion."))
        return blocks + ([Paragraph(zones_words(zones))] if zones else [])
    sentences = [sentence(kind, figures) for kind, figures in figures_by_kind(rows).items()]
    words = [*choice_words(counted, chosen_map, box).values(), *threshold_words(counted).values()]
    words += [zones_words(zones)] if zones else []
    blocks += [Bullets((*sentences, *words)), Paragraph(CONTROL_WORDS)]
    blocks += [Paragraph(ZONE_WORDS)] if zones else []
    blocks.append(table)
    histogram = iou_histogram(ok)
    if histogram is not None:
        alt = _histogram_in_words(rows)
        blocks.append(Figure(f"localization-{place + 1}-iou", histogram, alt, HISTOGRAM))
    if panel is not None:
        words = [
            f"{KINDS[kind]}, IoU from top to bottom {', '.join(f'{value:.2f}' for value in values)}"
            for kind, values in shown_ious(ok).items()
        ]
        alt = "Chest X-rays in rows: the image, its truth, its attention and what was marked."
        alt = f"{alt} {'; '.join(words)}." if words else alt
        blocks.append(Figure(f"localization-{place + 1}-panel", Drawing(panel), alt, PANEL))
    return blocks


def _histogram_in_words(rows: Sequence[LocalizationRow]) -> str:
    """Describe the distribution of the IoU, for those who cannot see it."""
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
    for place, found in enumerate(facts.localizations):
        if found.problem is not None:
            blocks.append(Caution(f"A localization could not be read: {found.problem}"))
        elif found.model_sha256 == model:
            blocks += localization_blocks(found.name, found.rows, found.panel, place, found.map, found.box)
    if len(blocks) == 1:
        command = shlex.join(["magsd", "localize", "IMAGES", "--model", str(results.run.path)])
        blocks.append(not_available("nothing was localized with this run"))
        truth = "--boxes boxes.csv --masks masks/ --lungs lungs/ --zones zones.csv"
        blocks.append(Commands((f"{command} {truth} --map {Map.chosen} --box {BoxRule.chosen}",)))
    return blocks
