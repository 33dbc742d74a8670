"""Every run against the best one, paired by image: is the difference more than chance?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from magsd_cli.evaluation.comparison import ComparedRun
from magsd_cli.metrics.significance import Comparison, compare_rates, holm
from magsd_cli.render.document import Block, Heading, Paragraph, Table

SEED = 0


def contrast_blocks(runs: Sequence[ComparedRun]) -> list[Block]:
    """The table of paired differences from the run with the highest pooled accuracy, on the same images."""
    known = [run for run in runs if run.predictions is not None]
    heading = Heading("Differences from the best run")
    if len(known) < 2:
        return [heading, Paragraph("Not available: fewer than two runs have their predictions.")]
    best = max(known, key=lambda run: run.metrics["pooled"]["accuracy"] or 0.0)
    assert best.predictions is not None
    others = [run for run in known if run is not best and _same_images(run, best)]
    if not others:
        return [heading, Paragraph("Not available: no other run was tested on the images of the best one.")]
    found = [_against(run, best) for run in others]
    adjusted = {metric: holm([each[metric].p for each in found]) for metric in ("accuracy", "auc")}
    rows = [
        (
            run.title,
            *_cells(each["accuracy"], adjusted["accuracy"][place]),
            *_cells(each["auc"], adjusted["auc"][place]),
        )
        for place, (run, each) in enumerate(zip(others, found, strict=True))
    ]
    caption = (
        f"Each run minus {best.title}, in percentage points, on the same images, pooled out of fold; 95 % "
        "intervals and p by the bootstrap over patients (2,000 samples, paired by image), p adjusted by "
        f"Holm for {len(others)} comparisons. An interval without 0 speaks for a difference."
    )
    head = ("run", "accuracy [95 % interval]", "p (Holm)", "AUC [95 % interval]", "p (Holm)")
    return [heading, Table(caption, head, tuple(rows))]


def _same_images(run: ComparedRun, best: ComparedRun) -> bool:
    return (
        run.predictions is not None
        and best.predictions is not None
        and run.predictions.image_ids == best.predictions.image_ids
        and run.metrics["classes"] == best.metrics["classes"]
    )


def _against(run: ComparedRun, best: ComparedRun) -> dict[str, Comparison]:
    assert run.predictions is not None
    assert best.predictions is not None
    ours, theirs = run.predictions, best.predictions
    rng = np.random.default_rng(SEED)
    return compare_rates(ours.truth, ours.probabilities, theirs.probabilities, ours.patients, rng)


def _cells(comparison: Comparison, adjusted: float | None) -> tuple[str, str]:
    if comparison.difference is None:
        return "n/a", "n/a"
    low, high = comparison.interval
    between = "" if low is None or high is None else f" [{100 * low:+.2f}, {100 * high:+.2f}]"
    p = "n/a" if adjusted is None else ("< 0.001" if adjusted < 0.001 else f"{adjusted:.3f}")
    return f"{100 * comparison.difference:+.2f}{between}", p
