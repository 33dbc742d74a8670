"""Precision-recall curves and decision curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from magsd_cli.render import charts
from magsd_cli.render.charts import COLOURS, GREY, STYLES, Floats, new_figure, plain, shorten
from magsd_cli.render.document import Drawing

ACROSS = 2  # decision curves side by side: legible where a page is narrow


@dataclass(frozen=True)
class PrecisionRecall:
    """A class's curve: recall and precision [T] in 0..1; average precision with its interval in words.

    share: how common the class is, in 0..1, which is the precision of calling images at random.
    """

    name: str
    recall: Floats = field(repr=False)
    precision: Floats = field(repr=False)
    average: str
    share: float


@dataclass(frozen=True)
class NetBenefit:
    """A class's decision curve: net benefit [T] of the model with its bounds, and of calling all images.

    thresholds [T] in 0..1; share: how common the class is, in 0..1, the most that can be gained.
    """

    name: str
    thresholds: Floats = field(repr=False)
    model: Floats = field(repr=False)
    low: Floats = field(repr=False)
    high: Floats = field(repr=False)
    everyone: Floats = field(repr=False)
    share: float


def precision_recall_figure(curves: Sequence[PrecisionRecall], title: str) -> Drawing:
    """Precision against recall, a step for each threshold; dotted, the precision of calling at random."""
    crowded = len(curves) > 6
    figure, (axes,) = new_figure(1, (10.4 if crowded else 6.4, 5.6))
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        axes.axhline(curve.share, color=colour, linestyle=":", linewidth=1)
        axes.plot(
            curve.recall,
            curve.precision,
            color=colour,
            linestyle=STYLES[number % len(STYLES)],
            linewidth=1.5,
            drawstyle="steps-pre",
            label=plain(f"{shorten(curve.name, 36)} (AP {curve.average})"),
        )
    axes.set(xlabel="recall (sensitivity, share)", ylabel="precision (PPV, share)", title=plain(title))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.grid(alpha=0.3)
    outside = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if crowded else {"loc": "lower left"}
    axes.legend(fontsize=8, **outside)
    return charts.drawing(figure)


def net_benefit_figure(curves: Sequence[NetBenefit]) -> Drawing:
    """Net benefit against the threshold, a chart for each class; grey lines: all called, none called."""
    across = min(ACROSS, len(curves))
    down = -(-len(curves) // across)
    figure = Figure(figsize=(0.6 + 4.0 * across, 0.6 + 3.2 * down), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, curve in zip(grid, curves, strict=False):
        percents = 100 * curve.thresholds
        axes.fill_between(
            percents, 100 * curve.low, 100 * curve.high, color=COLOURS[0], alpha=0.15, linewidth=0
        )
        axes.plot(percents, 100 * curve.model, color=COLOURS[0], label="by the network")
        axes.plot(percents, 100 * curve.everyone, color=GREY, linestyle="--", label="all called")
        axes.axhline(0, color=GREY, linestyle=":", label="none called")
        top = 100 * curve.share
        axes.set(xlim=(0, 100), ylim=(-0.3 * top, 1.12 * top), title=plain(shorten(curve.name, 30)))
        axes.grid(alpha=0.3)
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    lines = grid[0].get_legend_handles_labels()
    free = len(grid) > len(curves)
    grid[-1 if free else 0].legend(*lines, fontsize=8, loc="center" if free else "upper right")
    figure.supxlabel("threshold on the class's probability (%)", fontsize=10)
    figure.supylabel("net benefit (per 100 images)", fontsize=10)
    return charts.drawing(figure)
