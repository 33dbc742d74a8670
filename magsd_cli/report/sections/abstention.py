"""Leaving images to a reader: what is referred and why, and how the error falls as more are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.evaluation.facts import Appearance, Facts, OperatingPoint
from magsd_cli.metrics.abstention import area_under_curve, confidence_for, coverage_curve, error_interval
from magsd_cli.metrics.intervals import wilson
from magsd_cli.render.charts import coverage_figure
from magsd_cli.render.document import (
    Block,
    Bullets,
    Figure,
    Heading,
    Paragraph,
    Table,
    code,
    interval_text,
    percent,
)

MISSING = f"operating.json is missing; make it with {code('magsd calibrate RUN')}"
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


def abstention_section(facts: Facts) -> list[Block]:
    """Show what the operating point refers, and coverage against error, calibrated by the other folds."""
    found, stored = facts.calibrated, facts.operating_point
    if facts.scored is None or found is None:
        return []
    blocks: list[Block] = [Heading("Leaving images to a reader", 3)]
    if stored is None:
        blocks.append(Paragraph(f"What predict refers is not available: {MISSING}."))
    else:
        blocks.append(Bullets(tuple(_rules(stored))))
        blocks += _by_class(stored.appearance)
    if len(found) == 0:
        return [*blocks, Paragraph("n/a: no image was tested.")]
    right, confidence = found.called == found.truth, found.confidence
    return [*blocks, _coverage_table(right, confidence, found.patients), _curve(right, confidence)]


def _rules(stored: OperatingPoint) -> list[str]:
    appearance, confidence = stored.appearance, stored.confidence
    rules = []
    if appearance is None:
        rules.append(
            "Whether an image looks like the training images is not checked: their cache was missing."
        )
    else:
        promise = (
            f"at most {percent(appearance.share, digits=0)}% of new patients' images like these are, "
            f"with {percent(appearance.assurance, digits=0)}% assurance"
            if appearance.assurance
            else f"{appearance.patients} patients are too few to promise how many will be"
        )
        rules.append(
            f"unlike_training_images: referred where the picture's distance from the training images is "
            f"over {appearance.limit:.3f} (their mean is 1); {promise}. Of the run's own "
            f"{appearance.images} images, each measured against the other folds', "
            f"{percent(appearance.referred, digits=1)}% are."
        )
    rules.append(
        "folds_disagree: referred where no class has the votes of more than half of three or more networks. "
        "How often that is cannot be said from cross-validation: each image was seen by all networks but one."
    )
    rules.append(
        f"low_confidence: referred under a confidence of {confidence.least:.3f}, which answers "
        f"{percent(confidence.coverage, digits=0)}% of the out-of-fold images."
        if confidence
        else f"low_confidence: not asked for; {code('magsd calibrate RUN --coverage 0.9')} refers a "
        "tenth by it."
    )
    return rules


def _by_class(appearance: Appearance | None) -> list[Block]:
    if appearance is None:
        return []
    rows = [
        (
            name,
            str(images),
            f"{percent(referred / images, digits=1)} {interval_text(wilson(referred, images))}",
        )
        for name, (referred, images) in appearance.by_class.items()
        if images
    ]
    caption = (
        "The run's own images that would be referred as unlike the others, in percent (95% interval, "
        "Wilson): a class that is referred more often than the others is served worse."
    )
    return [Table(caption, ("class", "n", "referred (%)"), tuple(rows))]


def _coverage_table(
    right: npt.NDArray[np.bool_], confidence: npt.NDArray[np.float64], groups: Sequence[str]
) -> Table:
    rows = []
    for coverage in COVERAGES:
        least = confidence_for(confidence, coverage)
        answered = confidence >= least
        error, interval = error_interval(right, answered, groups)
        share = f"{100 * answered.mean():.1f}"
        rows.append(
            (share, str(int(answered.sum())), f"{least:.3f}", f"{percent(error)} {interval_text(interval)}")
        )
    caption = (
        "Error among the images that are answered when the least confident ones are referred, all tested "
        "images counted, out of fold; confidence calibrated by the other folds; 95% intervals over patients."
    )
    return Table(caption, ("answered (%)", "n", "confidence at least", "error (%)"), tuple(rows))


def _curve(right: npt.NDArray[np.bool_], confidence: npt.NDArray[np.float64]) -> Figure:
    coverage, error, _ = coverage_curve(right, confidence)
    area, overall = area_under_curve(right, confidence), float((~right).mean())
    points = "; ".join(
        f"{100 * at:.0f}% answered: {100 * float(np.interp(at, coverage[::-1], error[::-1])):.1f}% wrong"
        for at in COVERAGES
    )
    return Figure(
        "coverage",
        coverage_figure(coverage, error, overall),
        f"Error against the share of images that are answered. {points}.",
        f"Area under the curve {100 * area:.1f}% (less is better; {100 * overall:.1f}% if the confidence "
        "said nothing). Dashed: what knowing the wrong answers would reach.",
    )
