"""The calibration of the probabilities, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.calibration import (
    BINS,
    brier,
    calibration_intervals,
    calibration_slope,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)
from magsd_cli.render.charts import reliability_figure
from magsd_cli.render.document import Block, Figure, Heading, Paragraph, Table, code, interval_text


def calibration_section(facts: Facts) -> list[Block]:
    """Table and reliability plot, intervals over patients. The scaled probabilities of a fold come from the
    temperature that was fitted on the other folds.
    """
    found, calibrated = facts.scored, facts.calibrated
    if found is None or calibrated is None:
        return []
    blocks: list[Block] = [Heading("Calibration", 3)]
    if len(found) == 0:
        return [*blocks, Paragraph("n/a: no image was tested.")]
    truth, probabilities, groups = found.truth, found.probabilities, found.patients
    series = {"as the network says": probabilities}
    if len(np.unique(found.tested_in())) > 1:
        series["temperature fitted on the other folds"] = calibrated.probabilities
    rows = tuple((name, *_figures(truth, values, groups)) for name, values in series.items())
    caption = (
        f"ECE: expected calibration error of the predicted class in {BINS} equally wide bins. Brier: 0 is "
        "best, 2 is worst. Slope: 1 is right, below 1 the network is too sure. All out of fold; in brackets "
        "95% intervals by bootstrap over patients."
    )
    head = ("probabilities", "ECE (%)", "Brier score", "log loss (nats)", "slope")
    words = (
        f"The temperature of all folds together, which {code('magsd calibrate')} stores and predict applies "
        f"to each network, is {fit_temperature(truth, probabilities):.2f} (above 1: the networks are surer "
        "than they should be, below 1 less sure). No figure here rests on it: each fold is scaled by the "
        "temperature of the others."
    )
    bins = {name: reliability(truth, values) for name, values in series.items()}
    figure = Figure(
        "calibration",
        reliability_figure(bins),
        "Accuracy against confidence: " + "; ".join(_in_words(n, *b) for n, b in bins.items()) + ".",
        "On the dotted line, images called with a confidence of 0.8 are right in 80% of the cases.",
    )
    return [*blocks, Table(caption, head, rows), Paragraph(words), figure]


def _figures(
    truth: npt.NDArray[np.int64], values: npt.NDArray[np.float64], groups: Sequence[str]
) -> tuple[str, ...]:
    bounds = calibration_intervals(truth, values, groups, np.random.default_rng(0))
    return (
        f"{100 * expected_calibration_error(truth, values):.2f} {interval_text(bounds['ece'])}",
        f"{brier(truth, values):.3f} {interval_text(bounds['brier'], 3, 1)}",
        f"{log_loss(truth, values):.3f} {interval_text(bounds['log_loss'], 3, 1)}",
        f"{calibration_slope(truth, values):.2f}",
    )


def _in_words(
    name: str,
    confidence: npt.NDArray[np.float64],
    share: npt.NDArray[np.float64],
    count: npt.NDArray[np.int64],
) -> str:
    points = ", ".join(
        f"{s:.2f} at {c:.2f}" for c, s, n in zip(confidence, share, count, strict=True) if n > 0
    )
    return f"{name}: {points}"
