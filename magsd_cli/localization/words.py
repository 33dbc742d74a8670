"""The figures of a localization as sentences, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from magsd_cli.console import counted
from magsd_cli.localization.folder import Summary
from magsd_cli.localization.measure import BOXES, IOU, LUNGS, MASK, LocalizationRow, kind_of, number_in
from magsd_cli.localization.scores import KindFigures, Score, verdict
from magsd_cli.render.document import interval_text, percent
from magsd_cli.settings import Map

KINDS = {BOXES: "Boxes", MASK: "Masks", LUNGS: "Lungs"}
EVIDENCE = "what is marked is the evidence for the predicted class: the part of its logit from each pixel"
UNSEEN = "each was shown only to the network of its fold, which was not trained on it"
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
            "training "
            "data: the run's cache is missing"
        )
    if summary["with_truth"] and "untrained" not in summary["controls"]:
        lines.append("no comparison with untrained networks: they need torch, which was not installed")
    if summary.get("map") == Map.evidence:
        lines.append(EVIDENCE)
    lines += list(summary["thresholds"].values())
    return lines + [sentence(kind, figures) for kind, figures in summary["kinds"].items()]


def _them(number: int) -> str:
    return "it" if number == 1 else "them"


def sentence(kind: str, figures: KindFigures) -> str:
    """Say in a sentence whether the attention is better than chance for one kind of truth."""
    main = figures["inside" if kind == LUNGS else "iou"]
    what = "share of the attention inside the lungs" if kind == LUNGS else "mean IoU"
    answers = {name: verdict(control["gain_interval95"]) for name, control in main["controls"].items()}
    words = [
        f"{percent(control['mean'], digits=1)}% for {CHANCES[name]} (difference "
        f"{100 * control['gain']:+.1f} {interval_text(control['gain_interval95'], signed=True)})"
        for name, control in main["controls"].items()
    ]
    text = (
        f"{KINDS[kind]}, {counted(figures['n'], 'image')} of {counted(figures['patients'], 'patient')}: "
        f"{what} "
        f"{percent(main['mean'], digits=1)}% {interval_text(main['interval95'])}"
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


def _pointing(pointing: Score) -> str:
    answers = {verdict(control["gain_interval95"]) for control in pointing["controls"].values()}
    chances = [
        f"{CHANCES[name]} {percent(control['mean'], digits=1)}%"
        for name, control in pointing["controls"].items()
    ]
    what = "better than" if answers == {"better"} else "not shown to be better than"
    return (
        f" Its strongest point lies in the finding in {percent(pointing['mean'], digits=1)}% "
        f"{interval_text(pointing['interval95'])} of the images, {what} chance ({', '.join(chances)})."
    )


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
