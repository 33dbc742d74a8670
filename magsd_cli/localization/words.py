"""The figures of a localization as sentences, for the terminal and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from magsd_cli.console import counted
from magsd_cli.localization.folder import Summary
from magsd_cli.localization.measure import BOXES, IOU, LUNGS, MASK, ZONES, kind_of
from magsd_cli.localization.row import LocalizationRow, number_in
from magsd_cli.localization.scores import Gain, KindFigures, figure_of, verdict
from magsd_cli.localization.zones import MEASURED, NO_MASK, NOT_TWO_LUNGS, SAME_SCORES
from magsd_cli.render.document import interval_text, percent
from magsd_cli.settings import BoxRule, Map

KINDS = {BOXES: "Boxes", MASK: "Masks", LUNGS: "Lungs", ZONES: "Zones"}
EVIDENCE = "what is marked is the evidence for the predicted class: the part of its logit from each pixel"
UNSEEN = "each was shown only to the network of its fold, which was not trained on it"
MEASURES = {
    "iou": "IoU",
    "over_0.25": "IoU over 0.25",
    "over_0.5": "IoU over 0.5",
    "pointing": "pointing game",
    "pixel_auc": "pixel AUC",
    "inside": "attention inside",
    "correlation": "rank correlation",
}
#: The first measure of each kind, by which it is said to be better than chance, and what it is called.
MAIN = {
    BOXES: ("iou", "mean IoU"),
    MASK: ("iou", "mean IoU"),
    LUNGS: ("inside", "share of the attention inside the lungs"),
    ZONES: ("correlation", "mean rank correlation of the attention with the severity over the six zones"),
}
CHANCES = {
    "area": "the lungs' share of the image",
    "whole": "the whole film",
    "constant": "one box for all films, chosen on other patients",
    "brightness": "the film's own brightness",
    "shuffled": "other patients' attention",
    "untrained": "untrained networks",
    "start": "the weights that training began with",
}
USUAL_ORDER = "the mean severity of other patients' zones"  # the constant control of zones
MAPS: dict[str, str] = {
    Map.attention: "the mean attention",
    Map.evidence: "the evidence for the predicted class",
}
RULES: dict[str, str] = {BoxRule.largest: "the largest part", BoxRule.maximum: "the part with the maximum"}
FURTHER = {
    "pointing": "Its strongest point lies in the finding in this share of the images:",
    "pixel_auc": "Its pixel AUC is",
}
LEFT_OUT = {
    SAME_SCORES: "the same score in all zones",
    NO_MASK: "no lung mask",
    NOT_TWO_LUNGS: "a mask that does not show two lungs",
}


def in_words(summary: Summary) -> list[str]:
    """The figures for people: with chance beside them, and what they are not of."""
    files, alone = counted(summary["files"], "file"), summary.get("networks") == 1
    lines = [f"localize: {files}, {summary['ok']} ok, {summary['errors']} with an error"]
    own, left_out = summary["own_data_by_its_unseen_fold"], summary["left_out_as_training_data"]
    if own:
        held_out = f"held out, so that the network was not trained on {_them(own)}"
        lines.append(f"{counted(own, 'image')} of the run's own data: {held_out if alone else UNSEEN}")
    if left_out:
        trained = f"{'the' if alone else 'every'} network was trained on {_them(left_out)}"
        lines.append(f"{counted(left_out, 'image')} with truth left out of the figures: {trained}")
    if summary["possibly_training_data"]:
        lines.append(
            f"{counted(summary['possibly_training_data'], 'image')} with truth in the figures may be "
            "training data: the run's cache is missing"
        )
    if summary["with_truth"]:
        lines += [
            f"no comparison with {CHANCES[name]}: {reason}"
            for name, reason in summary.get("missing_controls", {}).items()
        ]
    if summary["map"] == Map.evidence:
        lines.append(EVIDENCE)
    lines += [*summary.get("choices", {}).values(), *summary["thresholds"].values()]
    if summary.get("zones"):
        lines.append(zones_words(summary["zones"]))
    return lines + [sentence(kind, figures) for kind, figures in summary["kinds"].items()]


def _them(count: int) -> str:
    return "it" if count == 1 else "them"


def number(measure: str, value: float, sign: bool = False) -> str:
    """A value of a measure: shares in percent with a digit, rank correlations as they are, with two."""
    plus = "+" if sign else ""
    return f"{value:{plus}.2f}" if measure == "correlation" else f"{100 * value:{plus}.1f}"


def interval_words(bounds: Sequence[float] | None, measure: str = "", signed: bool = False) -> str:
    """Write an interval of a measure, its bounds as `number` does."""
    plain = measure == "correlation"
    return interval_text(bounds, digits=2 if plain else 1, scale=1 if plain else 100, signed=signed)


def in_order(controls: Mapping[str, Gain]) -> dict[str, Gain]:
    """The controls from the simplest on; a summary that was read from its file has them by letters."""
    return {name: controls[name] for name in CHANCES if name in controls}


def gain_words(measure: str, gain: Gain) -> str:
    """Write a gain and its interval, with their signs."""
    bounds = interval_words(gain["gain_interval95"], measure, signed=True)
    return f"{number(measure, gain['gain'], sign=True)} {bounds}"


def control_name(kind: str, control: str) -> str:
    """A control of a kind of truth in words."""
    return USUAL_ORDER if (kind, control) == (ZONES, "constant") else CHANCES[control]


def sentence(kind: str, figures: KindFigures) -> str:
    """Say whether the attention is better than chance for one kind of truth."""
    measure, what = MAIN[kind]
    main = figure_of(figures, measure)
    assert main is not None
    sign = "" if measure == "correlation" else "%"
    controls = in_order(main["controls"])
    answers = {control_name(kind, name): verdict(gain) for name, gain in controls.items()}
    words = [
        f"{number(measure, gain['mean'])}{sign} for {control_name(kind, name)} "
        f"(difference {gain_words(measure, gain)})"
        for name, gain in controls.items()
    ]
    text = (
        f"{KINDS[kind]}, {counted(figures['n'], 'image')} of {counted(figures['patients'], 'patient')}: "
        f"{what} {number(measure, main['mean'])}{sign} {interval_words(main['interval95'], measure)}"
    )
    if not words:
        return f"{text}; too few images for a comparison with chance."
    text += f", against {', '.join(words)}. {_conclusion(answers)}"
    if kind in IOU:
        text += "".join(_further(kind, figures, name, begin) for name, begin in FURTHER.items())
    if kind == ZONES and "readers" in figures:
        text += (
            f" Two readers of the same zones have a rank correlation of {figures['readers']:.2f} "
            f"({counted(figures['readers_n'], 'image')})."
        )
    return text


def _conclusion(answers: Mapping[str, str]) -> str:
    """Better than chance is what beats every control."""
    if set(answers.values()) == {"better"}:
        return "The attention is better than chance."
    worse = [name for name, answer in answers.items() if answer == "worse"]
    if worse:
        return f"The attention is NOT better than chance: it is worse than {' and '.join(worse)}."
    short = [name for name, answer in answers.items() if answer != "better"]
    return f"The attention is NOT shown to be better than chance: no gain over {' and '.join(short)}."


def _further(kind: str, figures: KindFigures, measure: str, begin: str) -> str:
    """A further measure of findings, in short; "" in tables of earlier versions that have it not."""
    score = figure_of(figures, measure)
    if score is None:
        return ""
    answers = {verdict(gain) for gain in score["controls"].values()}
    chances = [
        f"{control_name(kind, name)} {percent(gain['mean'], digits=1)}%"
        for name, gain in in_order(score["controls"]).items()
    ]
    what = "better than" if answers == {"better"} else "not shown to be better than"
    return (
        f" {begin} {percent(score['mean'], digits=1)}% {interval_words(score['interval95'])}, "
        f"{what} chance ({', '.join(chances)})."
    )


def zones_words(counts: Mapping[str, int]) -> str:
    """Say how many images with scores are measured, and why the others are not."""
    left = [f"{counts[why]} for {words}" for why, words in LEFT_OUT.items() if counts.get(why)]
    scored = counted(sum(counts.values()), "image")
    text = f"Zones: {scored} with scores, {counts.get(MEASURED, 0)} of them measured"
    return text + (f"; left out: {', '.join(left)}." if left else ".")


def choice_words(rows: Sequence[LocalizationRow], chosen_map: str, chosen_box: str) -> dict[str, str]:
    """Say for each kind of truth which map and box rule its images have, where these were chosen."""
    found = {}
    for kind in (*IOU, ZONES, LUNGS):
        part = [row for row in rows if choosing_kind(row) == kind]
        pieces = []
        if chosen_map == Map.chosen:
            pieces.append("marked is " + _counted(row.get("map") for row in part))
        if chosen_box == BoxRule.chosen and kind == BOXES:
            pieces.append("the box is around " + _counted(row.get("box_rule") for row in part))
        if not part or not pieces:
            continue
        on = [row["chosen_on"] for row in part if row.get("chosen_on") is not None]
        why = _chosen_on(on, len(on) < len(part))
        found[kind] = f"{KINDS[kind]}: {', '.join(pieces)}, {why}."
    return found


def choosing_kind(row: LocalizationRow) -> str | None:
    """The kind of truth by which an image's map, box rule and threshold are chosen."""
    kind = kind_of(row["truth"])
    if kind is None and row.get("zones") is not None:
        return ZONES
    return LUNGS if kind is None and row.get("lungs_inside") is not None else kind


def _counted(words: Iterable[str | None]) -> str:
    names = MAPS | RULES
    counts = Counter(words).most_common()
    return " or ".join(f"{names.get(word or '', word)} ({counted(count, 'image')})" for word, count in counts)


def _chosen_on(counts: Sequence[int | None], some_default: bool) -> str:
    known = [count for count in counts if count is not None]
    if not known:
        return "the default: too few images of other folds have such a truth to choose one"
    images = f"{min(known)} to {max(known)}" if min(known) < max(known) else f"{known[0]}"
    why = f"chosen for each fold on the {images} images of the other folds alone"
    return why + ("; the default where these are too few" if some_default else "")


def threshold_words(rows: Sequence[LocalizationRow]) -> dict[str, str]:
    """Say for each kind of truth where its thresholds come from."""
    found = {}
    for kind in IOU:
        part = [row for row in rows if kind_of(row["truth"]) == kind]
        sources = {row["threshold_from"] for row in part}
        if not part or None in sources:
            continue
        low, high = (f"{pick(number_in(row, 'threshold') for row in part):.2f}" for pick in (min, max))
        value = low if low == high else f"{low} to {high}"
        if sources == {"given"}:
            why = "as given, for all images"
        else:
            counts = [row["threshold_images"] for row in part if row["threshold_images"] is not None]
            why = _chosen_on(counts, "default" in sources)
        found[kind] = f"{KINDS[kind]}: threshold {value} of the attention's range, {why}."
    return found
