"""Decision curves: at which thresholds acting on a probability is worth more than acting on all or none."""

from __future__ import annotations

import numpy as np

from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.net_benefit import THRESHOLDS, DecisionCurve, better_ranges, decision_curve
from magsd_cli.render.curves import NetBenefit, net_benefit_figure
from magsd_cli.render.document import Block, Figure, Heading, Paragraph

READ_AT = (0.1, 0.25, 0.5)  # thresholds that are read out in words
WORDS = (
    "Net benefit (Vickers and Elkin 2006) sets found images against false calls. A threshold of 10% says "
    "that finding one image of the class is worth up to nine false calls; one of 50%, that both weigh the "
    "same. Which threshold is right is a clinical question that these data cannot answer. The network is "
    "worth acting on where its curve lies above both others."
)
CAPTION = (
    "Found images less false calls, these weighted by the odds of the threshold, per 100 images, out of "
    "fold; {how}. The most that could be had is the class's share. That share is the collection's, not a "
    "hospital's: where the class is rarer, so is the benefit, and the probabilities would have to be "
    "calibrated anew. Bands: 95% at each single threshold, bootstrap over patients."
)
CALIBRATED = "probabilities at the temperature that the other folds chose"
RAW = "probabilities as the network gives them, for there is no other fold to calibrate them by"


def net_benefit_section(facts: Facts) -> list[Block]:
    """A decision curve for each class, by the probabilities that the other folds calibrated."""
    found = facts.calibrated
    if facts.scored is None or found is None or len(found) == 0:
        return []
    curves = {
        name: decision_curve(
            found.truth == k, found.probabilities[:, k], found.patients, np.random.default_rng(0)
        )
        for k, name in enumerate(found.classes)
        if 0 < (found.truth == k).sum() < len(found)
    }
    blocks: list[Block] = [Heading("Decision curves", 3)]
    if not curves:
        return [*blocks, Paragraph("n/a: all tested images are of one class.")]
    drawn = [
        NetBenefit(name, THRESHOLDS, one.model, one.low, one.high, one.everyone, one.share)
        for name, one in curves.items()
    ]
    points = "; ".join(_read_out(name, curve) for name, curve in curves.items())
    ranges = "; ".join(f"{name} {_range(curve)}" for name, curve in curves.items())
    figure = Figure(
        "net-benefit",
        net_benefit_figure(drawn),
        f"Decision curves. Net benefit per 100 images by the network, and by calling all: {points}.",
        CAPTION.format(how=CALIBRATED if len(np.unique(found.tested_in())) > 1 else RAW),
    )
    better = (
        "The network is worth more than both at these thresholds, by the lower 95% bound of the gain, taken "
        f"threshold by threshold (the longest stretch of each class): {ranges}."
    )
    return [*blocks, Paragraph(WORDS), figure, Paragraph(better)]


def _range(curve: DecisionCurve) -> str:
    first, last = max(better_ranges(curve), key=lambda ends: ends[1] - ends[0], default=(0.0, 0.0))
    return f"{first:.0%} to {last:.0%}" if last else "none"


def _read_out(name: str, curve: DecisionCurve) -> str:
    places = [int(np.argmin(abs(THRESHOLDS - at))) for at in READ_AT]
    points = ", ".join(
        f"{100 * curve.model[place]:.1f} and {100 * curve.everyone[place]:.1f} at {THRESHOLDS[place]:.0%}"
        for place in places
    )
    return f"{name} {points}"
