"""Whether the probabilities mean what they say, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.calibration import (
    BINS,
    brier,
    calibration_slope,
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)
from magsd_cli.reporting.document import Block, Figure, Heading, Paragraph, Table
from magsd_cli.reporting.figures import reliability_figure


def calibration_section(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], folds: Sequence[int]
) -> list[Block]:
    """Table and reliability plot. truth: class numbers [N]; probabilities [N,K]; folds: of each image [N].

    The scaled probabilities of a fold come from the temperature that was fitted on the other folds.
    """
    blocks: list[Block] = [Heading("Calibration", 3)]
    if len(truth) == 0:
        return [*blocks, Paragraph("n/a: no image was tested.")]
    series = {"as the network says": probabilities}
    if len(set(folds)) > 1:
        series["temperature fitted on the other folds"] = cross_fitted(truth, probabilities, list(folds))
    rows = tuple((name, *_figures(truth, values)) for name, values in series.items())
    caption = (
        f"ECE: expected calibration error of the predicted class in {BINS} equally wide bins. Brier: 0 is "
        "best, 2 is worst. Slope: 1 is right, below 1 the network is too sure. All out of fold."
    )
    head = ("probabilities", "ECE (%)", "Brier score", "log loss (nats)", "slope")
    words = (
        f"One temperature for all folds would be {fit_temperature(truth, probabilities):.2f} (above 1: the "
        "network is surer than it should be)."
    )
    bins = {name: reliability(truth, values) for name, values in series.items()}
    figure = Figure(
        "calibration",
        reliability_figure(bins),
        "Share called right against confidence: "
        + "; ".join(_in_words(n, *b) for n, b in bins.items())
        + ".",
        "On the dotted line, images called with a confidence of 0.8 are right in 80 % of the cases.",
    )
    return [*blocks, Table(caption, head, rows), Paragraph(words), figure]


def _figures(truth: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> tuple[str, ...]:
    return (
        f"{100 * expected_calibration_error(truth, values):.2f}",
        f"{brier(truth, values):.3f}",
        f"{log_loss(truth, values):.3f}",
        f"{calibration_slope(truth, values):.2f}",
    )


def _in_words(
    name: str,
    confidence: npt.NDArray[np.float64],
    share: npt.NDArray[np.float64],
    count: npt.NDArray[np.int64],
) -> str:
    points = ", ".join(
        f"{c:.2f} -> {s:.2f}" for c, s, n in zip(confidence, share, count, strict=True) if n > 0
    )
    return f"{name}: {points}"
