"""The shortcut audit in words: what can be told without looking at the lungs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.intervals import Interval, rate_intervals
from magsd_cli.metrics.roc import one_vs_rest_auc
from magsd_cli.reporting.document import Block, Caution, Heading, Paragraph, Table, not_available, percent
from magsd_cli.reporting.performance import interval_text

#: From this AUC on (the lower end of its interval) what holds no lung tells a class well enough to worry.
TELLING = 0.75
DRAWS = 500


@dataclass(frozen=True)
class Shortcut:
    """What one view of the images gives away: the AUC of each class with its interval; `lungless` if none."""

    view: str
    areas: tuple[float, ...]
    intervals: tuple[Interval, ...]
    lungless: bool


def measure_shortcut(
    view: str,
    truth: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    patients: Sequence[str],
    lungless: bool,
) -> Shortcut:
    """Out-of-fold AUCs of a small classifier, intervals by bootstrap over patients."""
    found = rate_intervals(truth, probabilities, patients, np.random.default_rng(0), DRAWS)
    areas = one_vs_rest_auc(truth, probabilities)
    bounds = tuple(found[f"auc.{k}"] for k in range(len(areas)))
    return Shortcut(view, tuple(float(area) for area in areas), bounds, lungless)


def shortcut_cautions(shortcuts: Sequence[Shortcut], classes: Sequence[str]) -> list[Caution]:
    """One caution for each view without lungs that tells a class."""
    cautions = []
    for shortcut in shortcuts:
        telling = [
            f"{name} (AUC {percent(area, digits=1)} %)"
            for name, area, bounds in zip(classes, shortcut.areas, shortcut.intervals, strict=True)
            if shortcut.lungless and bounds.low is not None and bounds.low > TELLING
        ]
        if telling:
            cautions.append(
                Caution(
                    f"From {shortcut.view}, where there is no lung, a simple classifier recognises "
                    f"{', '.join(telling)}. These pictures give their class away by how they were made. A "
                    "network may use that instead of the disease, and then fails at another hospital."
                )
            )
    return cautions


def audit_section(
    shortcuts: Sequence[Shortcut], classes: Sequence[str], association: float | None, missing: str = ""
) -> list[Block]:
    """The table of the audit, and how strongly source and class go together (Cramer's V)."""
    blocks: list[Block] = [Heading("Shortcut audit")]
    if not shortcuts:
        return [*blocks, not_available(missing or "there are too few images or folds for it")]
    rows = []
    for shortcut in shortcuts:
        cells = [
            f"{percent(None if np.isnan(area) else area, digits=1)} {interval_text(bounds)}"
            for area, bounds in zip(shortcut.areas, shortcut.intervals, strict=True)
        ]
        rows.append((shortcut.view, *cells))
    caption = (
        "How well small classifiers (logistic regression, out of fold, same folds) tell each class from the "
        "rest by what says little or nothing about the lungs: AUC in percent, 50 is chance; intervals by "
        "bootstrap over patients."
    )
    blocks.append(Table(caption, ("what the classifier sees", *classes), tuple(rows)))
    words = "n/a, all images come from one source" if association is None else f"{association:.2f}"
    blocks.append(
        Paragraph(
            f"Association of source and class (Cramer's V; 0: none, 1: one settles the other): {words}."
        )
    )
    return blocks
