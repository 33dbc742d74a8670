"""The operating point: what its threshold achieves, and what a positive call means where it is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.evaluation.facts import Decision, Facts
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.thresholds import (
    SENSITIVITY,
    SPECIFICITY,
    achieved,
    predictive_intervals,
    predictive_values,
)
from magsd_cli.render.document import (
    Block,
    Heading,
    Paragraph,
    Table,
    code,
    interval_text,
    not_available,
    percent,
)
from magsd_cli.report.sections.abstention import MISSING

TITLE = "Operating point"
HOW = f"{code('magsd calibrate RUN --positive CLASS --target-sensitivity 0.95')} chooses one"
CROSS_FITTED = "each fold by the threshold of the others"


def operating_point_section(facts: Facts) -> list[Block]:
    """The stored decision, and predictive values of the cross-fitted calls at the stated prevalence.

    Figures are computed anew from the run's predictions.
    """
    found, point = facts.scored, facts.operating_point
    if found is None:
        return []
    blocks: list[Block] = [Heading(TITLE, 3)]
    if point is None:
        return [*blocks, not_available(MISSING)]
    decision, called, prevalence = point.decision, facts.decisions, facts.prevalence
    if decision is None:
        return [*blocks, not_available(f"no threshold has been chosen; {HOW}")]
    name = decision.positive
    words = (
        f"An image is called {name} where its calibrated probability is at least "
        f"{decision.threshold:.4f}: chosen on all {decision.images} out-of-fold images "
        f"({decision.positives} of {name}) for a {decision.rate} of at least "
        f"{percent(decision.value, digits=0)}%."
    )
    blocks += [Paragraph(words), _achieved_table(decision), Paragraph(_optimism(decision))]
    if called is None:
        return [*blocks, Paragraph("PPV and NPV need figures from other folds than the threshold's.")]
    positive = found.truth == found.classes.index(name)
    blocks.append(_predictive_table(name, positive, called, found.patients, prevalence))
    if prevalence is None:
        blocks.append(
            Paragraph(
                f"In these data {name} is as common as it was collected to be. State how common it is where "
                f"the tool is to be used: {code('magsd report RUN --prevalence 0.05')}."
            )
        )
    return blocks


def frozen_threshold_table(decision: Decision, outside: Predictions) -> Table:
    """Show what the stored threshold achieves on other images, as it is: nothing is chosen on them."""
    name = decision.positive
    number = outside.classes.index(name)
    positive, scores = outside.truth == number, outside.probabilities[:, number]
    found = achieved(positive, scores >= decision.threshold, outside.patients)
    cells = (
        f"{percent(found.sensitivity)} {interval_text(found.sensitivity_interval)}",
        f"{percent(found.specificity)} {interval_text(found.specificity_interval)}",
    )
    caption = (
        f"{name} called from a probability of {decision.threshold:.4f}, as the run's own images chose it, "
        "in percent with 95% intervals over patients. It is for calibrated probabilities, as predict gives."
    )
    row = ("at the stored threshold", str(int(positive.sum())), *cells)
    return Table(caption, ("", f"n of {name}", "sensitivity (%)", "specificity (%)"), (row,))


def _achieved_table(decision: Decision) -> Table:
    rows = []
    kinds = ((CROSS_FITTED, decision.cross_fitted), ("where it was chosen (flatters)", decision.apparent))
    for title, figures in kinds:
        if figures is not None:
            sensitivity = f"{percent(figures.sensitivity)} {interval_text(figures.sensitivity_interval)}"
            specificity = f"{percent(figures.specificity)} {interval_text(figures.specificity_interval)}"
            rows.append((title, sensitivity, specificity))
    caption = (
        "In percent, with 95% intervals over patients. The threshold was tried on single networks of the "
        "folds; predict puts it to their mean, for which there is no image that none of them has seen."
    )
    return Table(caption, ("", "sensitivity (%)", "specificity (%)"), tuple(rows))


def _optimism(decision: Decision) -> str:
    cross_fitted, apparent = decision.cross_fitted, decision.apparent
    if cross_fitted is None:
        return "With one fold alone nothing says how much the figures flatter where the threshold was chosen."
    pairs = {
        SENSITIVITY: (apparent.sensitivity, cross_fitted.sensitivity),
        SPECIFICITY: (apparent.specificity, cross_fitted.specificity),
    }
    said = [
        f"{rate} {100 * (there - elsewhere):+.1f} percentage points"
        for rate, (there, elsewhere) in pairs.items()
        if there is not None and elsewhere is not None
    ]
    return f"Optimism, the second row less the first: {', '.join(said)}. Quote the first row."


def _predictive_table(
    name: str,
    positive: npt.NDArray[np.bool_],
    called: npt.NDArray[np.bool_],
    groups: Sequence[str],
    prevalence: float | None,
) -> Table:
    own = float(positive.mean())
    sensitivity, specificity = called[positive].mean(), (~called[~positive]).mean()
    rows = []
    for title, share in (("as you stated", prevalence), ("as in these data", own)):
        if share is None:
            continue
        ppv, npv = predictive_values(sensitivity, specificity, share)
        bounds = predictive_intervals(positive, called, groups, share)
        cells = [
            f"{percent(None if np.isnan(v) else float(v), 'never called so')} {interval_text(bound)}"
            for v, bound in zip((ppv, npv), bounds, strict=True)
        ]
        rows.append((f"{title}: {100 * share:.3g}%", *cells))
    caption = (
        f"Of images called {name} the share that is (PPV), of the others the share that is not (NPV), in "
        f"percent, from the sensitivity and specificity of {CROSS_FITTED}."
    )
    return Table(caption, (f"{name} is how common", "PPV (%)", "NPV (%)"), tuple(rows))
