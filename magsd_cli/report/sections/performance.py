"""Performance: the paper's table, the pooled one, each class, curves, confusion matrix, training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from magsd_cli.evaluation.cross_validation import Rates, RunMetrics
from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.curves import (
    DRAWS,
    GRID,
    Band,
    average_precision,
    average_precision_interval,
    precision_recall,
    roc_bands,
)
from magsd_cli.metrics.intervals import Interval, rate_intervals
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.rates import summary
from magsd_cli.metrics.roc import one_vs_rest_auc, roc_curve
from magsd_cli.render.charts import training_figure
from magsd_cli.render.curves import PrecisionRecall, precision_recall_figure
from magsd_cli.render.document import (
    Block,
    Figure,
    Heading,
    Paragraph,
    Table,
    interval_text,
    mean_and_deviation,
    not_available,
    percent,
)
from magsd_cli.render.fig6_roc import Curve, roc_figure
from magsd_cli.render.fig8_confusion import confusion_figure

Intervals = Mapping[str, Interval]

#: The paper's columns, and AUC.
COLUMNS = {"accuracy": "ACC", "sensitivity": "SEN", "specificity": "SPC", "f1": "F1", "auc": "AUC"}

BY_CLASS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision (PPV)",
    "npv": "NPV",
    "f1": "F1",
    "auc": "AUC",
}

MOST_BANDS = 4  # classes whose ROC curves have bands
SPECIFICITY, RECALLS = 0.9, (0.5, 0.8, 0.9)  # where the curves are read out in words


def metrics_table(metrics: RunMetrics, majority: str, intervals: Intervals | None = None) -> Table:
    """The paper's form: mean ± standard deviation over the folds; below it each fold, and all images pooled.

    `intervals`: of the pooled figures, by metric. The last row is what calling every image `majority` would
    reach.
    """
    folds = metrics["folds"]
    reasons = _reasons(metrics)
    rows = []
    if len(folds) > 1:
        cells = [mean_and_deviation(metrics["mean"][m], metrics["std"][m], reasons.get(m)) for m in COLUMNS]
        kind = "sources held out" if "held_out" in folds[0] else "folds"
        rows.append((f"mean ± SD over {len(folds)} {kind}", str(metrics["pooled"]["n"]), *cells))
    for fold in folds:
        cells = [percent(fold[m], fold["undefined"].get(m)) for m in COLUMNS]
        name = f"held out: {fold['held_out']}" if "held_out" in fold else f"fold {fold['fold']}"
        rows.append((name, str(fold["n"]), *cells))
    pooled = metrics["pooled"]
    if len(folds) > 1:
        cells = [percent(pooled[m], pooled["undefined"].get(m)) for m in COLUMNS]
        rows.append(("all images pooled", str(pooled["n"]), *cells))
    if intervals is not None:
        bounds = [interval_text(intervals.get(m)) for m in COLUMNS]
        rows.append(("95% interval of the pooled figure", str(pooled["n"]), *bounds))
    constant = _constant(pooled, metrics["classes"], majority)
    cells = [percent(constant[m], constant["undefined"].get(m)) for m in COLUMNS]
    rows.append((f"for comparison: every image called {majority}", str(pooled["n"]), *cells))
    caption = (
        "In percent, on images that the network was not trained on. ACC: accuracy. SEN, SPC, F1, "
        "AUC: mean over the classes, each against the rest (eq. 8-11). SD: sample standard deviation. "
        "Intervals: bootstrap over patients, 20,000 samples."
    )
    return Table(caption, ("", "n", *(f"{name} (%)" for name in COLUMNS.values())), tuple(rows))


def overall_table(pooled: Rates, found: Predictions) -> tuple[Table, Intervals]:
    """The figures of one set of predictions with their intervals, and all intervals by metric."""
    intervals = rate_intervals(found.truth, found.probabilities, found.patients, np.random.default_rng(0))
    cells = tuple(percent(pooled[m], pooled["undefined"].get(m)) for m in COLUMNS)
    bounds = tuple(interval_text(intervals.get(m)) for m in COLUMNS)
    n = str(pooled["n"])
    caption = "In percent; 95% intervals by bootstrap over patients. ACC: accuracy; else macro means."
    head = ("", "n", *(f"{name} (%)" for name in COLUMNS.values()))
    return Table(caption, head, (("all images", n, *cells), ("95% interval", n, *bounds))), intervals


def _reasons(metrics: RunMetrics) -> dict[str, str]:
    """Say why a metric is undefined in every fold: the first fold's reason."""
    return {m: fold["undefined"][m] for fold in metrics["folds"] for m in fold["undefined"]}


def _constant(pooled: Rates, classes: Sequence[str], majority: str) -> Rates:
    """The rates of calling every image `majority`."""
    counts = [row["n"] for row in pooled["per_class"]]
    truth = np.repeat(np.arange(len(classes)), counts)
    probabilities = np.zeros((len(truth), len(classes)))
    probabilities[:, list(classes).index(majority)] = 1
    return summary(truth, probabilities, classes)


def class_table(pooled: Rates, intervals: Intervals | None = None) -> Table:
    """Each class against the rest, over all images pooled, with its interval where there is one."""
    rows = []
    for k, row in enumerate(pooled["per_class"]):
        cells = []
        for m in BY_CLASS:
            bounds = "" if intervals is None else f" {interval_text(intervals.get(f'{m}.{k}'))}"
            cells.append(percent(row[m], _why(pooled, m, row)) + (bounds if row[m] is not None else ""))
        rows.append((row["class"], str(row["n"]), *cells))
    caption = (
        "Each class against the rest, in percent, over all tested images pooled. n: images of the class."
    )
    return Table(caption, ("class", "n", *BY_CLASS.values()), tuple(rows))


def _why(pooled: Rates, metric: str, row: Rates) -> str | None:
    """The reason that `summary` gives for this class and metric, without the class's name."""
    reason = pooled["undefined"].get(metric)
    return reason.rpartition(": ")[2] if reason and row[metric] is None else None


def roc_curves(found: Predictions, intervals: Intervals | None = None) -> list[Curve]:
    """A curve for each class that has images and others, and their mean (macro): AUC the mean of theirs.

    With `intervals` (of the figures, by metric) the areas have theirs and the curves bands over patients;
    with more than `MOST_BANDS` classes only their mean, for more would hide each other.
    """
    truth, probabilities = found.truth, found.probabilities
    areas = one_vs_rest_auc(truth, probabilities)
    bands: dict[int, Band] = {}
    mean_band: Band | None = None
    if intervals is not None:
        bands, mean_band = roc_bands(truth, probabilities, found.patients, np.random.default_rng(0))

    def area_words(metric: str) -> str:
        return interval_text(intervals[metric]) if intervals and metric in intervals else ""

    curves = []
    for k, name in enumerate(found.classes):
        if np.isnan(areas[k]):
            continue
        false_rate, true_rate, _ = roc_curve(truth == k, probabilities[:, k])
        band = (GRID, *bands[k]) if k in bands and len(found.classes) <= MOST_BANDS else None
        curves.append(
            Curve(name, false_rate, true_rate, float(areas[k]), interval=area_words(f"auc.{k}"), band=band)
        )
    if len(curves) > 1:
        mean = np.mean([np.interp(GRID, curve.false_rate, curve.true_rate) for curve in curves], axis=0)
        area = None if np.isnan(areas).any() else float(areas.mean())
        band = None if mean_band is None else (GRID, *mean_band)
        words = "" if area is None else area_words("auc")
        curves.append(Curve("macro (mean of the classes)", GRID, mean, area, True, words, band))
    return curves


def performance_section(facts: Facts) -> list[Block]:
    """The figures: overall, by class, ROC and precision-recall curves, confusion matrix."""
    metrics, found, missing = facts.results.metrics, facts.predictions, facts.results.missing
    if metrics is None or found is None:
        reasons = [missing[name] for name in ("metrics", "predictions") if name in missing]
        return [Heading("Results"), not_available("; ".join(reasons))]
    intervals = rate_intervals(found.truth, found.probabilities, found.patients, np.random.default_rng(0))
    classes, pooled = metrics["classes"], metrics["pooled"]
    curves = roc_curves(found, intervals)
    blocks: list[Block] = [Heading("Results"), metrics_table(metrics, facts.majority, intervals)]
    blocks += [Heading("Each class", 3), class_table(pooled, intervals), Heading("ROC curves", 3)]
    if curves:
        blocks += [_roc(curves), Heading("Precision and recall", 3), _precision_recall(found)]
    else:
        blocks.append(Paragraph("n/a: all tested images are of one class."))
    blocks += [Heading("Confusion matrix", 3), confusion(pooled["confusion"], classes)]
    return blocks


def _roc(curves: Sequence[Curve]) -> Figure:
    rows = "; ".join(
        f"{curve.name}: area {percent(curve.area)}%, sensitivity "
        f"{percent(float(np.interp(1 - SPECIFICITY, curve.false_rate, curve.true_rate)), digits=1)}%"
        for curve in curves
    )
    return Figure(
        "roc",
        roc_figure(curves, "ROC, all out-of-fold images pooled"),
        "ROC curves of each class against the rest, and their mean, with the diagonal of chance. Area under "
        f"the curve, and sensitivity where the specificity is {SPECIFICITY:.0%}: {rows}.",
        "Sensitivity against 1 - specificity as the threshold on a class's probability moves; all tested "
        "images pooled, so that networks of other folds share one threshold. AUC: the chance that an image "
        "of the class gets a higher probability than another, with its 95% interval. "
        f"{_bands_in_words(curves)}",
    )


def _bands_in_words(curves: Sequence[Curve]) -> str:
    banded = [curve for curve in curves if curve.band is not None]
    if not banded:
        return "There are too few images for a band."
    start = "Bands" if len(banded) == len(curves) else "Band, of the mean alone"
    return (
        f"{start}: 95% at each single point, bootstrap over patients, {DRAWS:,} samples; of these networks: "
        "another training may lie outside."
    )


def _precision_recall(found: Predictions) -> Figure:
    """Precision and recall of each class that has images."""
    curves, words = [], []
    for k, name in enumerate(found.classes):
        positive, scores = found.truth == k, found.probabilities[:, k]
        if not positive.any():
            continue
        recall, precision = precision_recall(positive, scores)
        bounds = average_precision_interval(positive, scores, found.patients, np.random.default_rng(0))
        average = f"{100 * average_precision(positive, scores):.2f}% {interval_text(bounds)}"
        curves.append(PrecisionRecall(name, recall, precision, average, float(positive.mean())))
        points = ", ".join(
            f"{100 * precision[np.searchsorted(recall, least - 1e-9)]:.0f}% at {least:.0%}"
            for least in RECALLS
        )
        words.append(f"{name} {points}")
    return Figure(
        "precision-recall",
        precision_recall_figure(curves, "Precision and recall, all out-of-fold images pooled"),
        f"Precision against recall of each class. Precision at a recall: {'; '.join(words)}.",
        "Of the images called a class the share that is (precision), against the share of its images that "
        "is found (recall). Dotted: calling at random, which is the class's share of these images. AP: "
        "average precision, with its 95% interval over patients. Precision depends on how common a class is "
        "in the collection: it is another one where the class is rarer.",
    )


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """The confusion matrix as in Fig. 8."""
    words = "; ".join(
        f"of {sum(row)} {true}, "
        + ", ".join(f"{count} called {name}" for name, count in zip(classes, row, strict=True) if count)
        for true, row in zip(classes, matrix, strict=True)
        if sum(row)
    )
    return Figure(
        "confusion",
        confusion_figure(matrix, classes, "Confusion matrix, all out-of-fold images pooled"),
        f"Confusion matrix: {words}.",
        "Rows are the truth. Above: share of the row; below: images. The colour follows the share.",
    )


def training_section(facts: Facts) -> list[Block]:
    """The training curves of the folds whose history is there. They are of training images: no result."""
    histories = facts.results.histories
    if not histories:
        return [Heading("Training curves"), not_available("no fold has a history.parquet")]
    epochs = {fold: len(history["loss"]) for fold, history in histories.items()}
    last = "; ".join(
        f"fold {fold}: loss {history['loss'][0]:.3f} to {history['loss'][-1]:.3f} in {epochs[fold]} epochs, "
        f"accuracy {percent(history['train_share_correct'][0], digits=0)}% to "
        f"{percent(history['train_share_correct'][-1], digits=0)}%"
        for fold, history in sorted(histories.items())
    )
    figure = Figure(
        "training",
        training_figure(histories),
        f"Training loss and training accuracy by epoch. {last}.",
        "How training went. These curves are of augmented training images and are no measure of quality.",
    )
    return [Heading("Training curves"), figure]
