"""The operating point: what its threshold achieves, and what a positive call means where it is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.evaluation.facts import Decision
from magsd_cli.evaluation.results import Evidence, stored_operating
from magsd_cli.metrics.calibration import cross_fitted
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.thresholds import (
    SENSITIVITY,
    SPECIFICITY,
    Aim,
    achieved,
    cross_fitted_decisions,
    predictive_intervals,
    predictive_values,
)
from magsd_cli.render.document import Block, Heading, Paragraph, Table, interval_text, not_available, percent
from magsd_cli.report.sections.abstention import abstention_section

TITLE = "Operating point"
HOW = "`magsd calibrate RUN --positive CLASS --target-sensitivity 0.95` chooses one"
HONEST = "each fold by the threshold of the others"
MISSING = "operating.json is missing; make it with `magsd calibrate RUN`"


def operating_section(
    decision: Decision | None,
    positive: npt.NDArray[np.bool_],
    called: npt.NDArray[np.bool_] | None,
    groups: Sequence[str],
    prevalence: float | None,
) -> list[Block]:
    """The stored `decision`, and predictive values of the cross-fitted calls at `prevalence`.

    positive: whether each image is of the class [N]; called: whether it is called so by the other folds'
    threshold [N], None where there is no other fold; groups: the patient of each image.
    """
    blocks: list[Block] = [Heading(TITLE, 3)]
    if decision is None:
        return [*blocks, not_available(f"no threshold has been chosen; {HOW}")]
    name = decision.positive
    words = (
        f"An image is called {name} where its calibrated probability is at least "
        f"{decision.threshold:.4f}: chosen on all {decision.images} out-of-fold images "
        f"({decision.positives} of {name}) for a {decision.rate} of at least "
        f"{percent(decision.value, digits=0)} %."
    )
    blocks += [Paragraph(words), _achieved_table(decision), Paragraph(_optimism(decision))]
    if called is None:
        return [*blocks, Paragraph("PPV and NPV need figures from other folds than the threshold's.")]
    blocks.append(_predictive_table(name, positive, called, groups, prevalence))
    if prevalence is None:
        blocks.append(
            Paragraph(
                f"In these data {name} is as common as it was collected to be. State how common it is where "
                "the tool is to be used: `magsd report RUN --prevalence 0.05`."
            )
        )
    return blocks


def frozen_threshold_table(decision: Decision, outside: Predictions) -> Table:
    """What the stored threshold achieves on other images, as it is: nothing is chosen on them."""
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
        "in percent with 95 % intervals over patients. It is for calibrated probabilities, as predict gives."
    )
    row = ("at the stored threshold", str(int(positive.sum())), *cells)
    return Table(caption, ("", f"n of {name}", "sensitivity (%)", "specificity (%)"), (row,))


def _achieved_table(decision: Decision) -> Table:
    rows = []
    kinds = ((HONEST, decision.cross_fitted), ("where it was chosen (flatters)", decision.apparent))
    for title, figures in kinds:
        if figures is not None:
            sensitivity = f"{percent(figures.sensitivity)} {interval_text(figures.sensitivity_interval)}"
            specificity = f"{percent(figures.specificity)} {interval_text(figures.specificity_interval)}"
            rows.append((title, sensitivity, specificity))
    caption = (
        "In percent, with 95 % intervals over patients. The threshold was tried on single networks of the "
        "folds; predict puts it to their mean, for which there is no image that none of them has seen."
    )
    return Table(caption, ("", "sensitivity (%)", "specificity (%)"), tuple(rows))


def _optimism(decision: Decision) -> str:
    fair, apparent = decision.cross_fitted, decision.apparent
    if fair is None:
        return "With one fold alone nothing says how much the figures flatter where the threshold was chosen."
    pairs = {
        SENSITIVITY: (apparent.sensitivity, fair.sensitivity),
        SPECIFICITY: (apparent.specificity, fair.specificity),
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
        rows.append((f"{title}: {100 * share:.3g} %", *cells))
    caption = (
        f"Of images called {name} the share that is (PPV), of the others the share that is not (NPV), in "
        f"percent, from the sensitivity and specificity of {HONEST}."
    )
    return Table(caption, (f"{name} is how common", "PPV (%)", "NPV (%)"), tuple(rows))


def operating_sections(evidence: Evidence, prevalence: float | None = None) -> list[Block]:
    """Operating point and referral of a run that has predictions. Figures are computed anew from these.

    Raises `ArtifactError` where operating.json is damaged or of other networks.
    """
    found = evidence.predictions
    assert found is not None
    stored = stored_operating(evidence)
    truth, scores, folds, patients = found.truth, found.probabilities, found.tested_in(), found.patients
    honest = cross_fitted(truth, scores, folds)
    blocks: list[Block] = []
    if stored is None:
        blocks += [Heading(TITLE, 3), not_available(MISSING)]
    else:
        aim = _aim(stored.decision, evidence.run.classes)
        positive = truth == (aim.positive if aim else 0)
        called = cross_fitted_decisions(truth, scores, folds, aim) if aim else None
        blocks += operating_section(stored.decision, positive, called, patients, prevalence)
    return blocks + abstention_section(
        stored, MISSING, honest.argmax(axis=1) == truth, honest.max(axis=1), patients
    )


def _aim(decision: Decision | None, classes: tuple[str, ...]) -> Aim | None:
    if decision is None:
        return None
    return Aim(classes.index(decision.positive), decision.rate, decision.value)
