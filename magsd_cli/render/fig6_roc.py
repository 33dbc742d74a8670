"""Fig. 6: ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from magsd_cli.render import charts
from magsd_cli.render.charts import COLOURS, GREY, STYLES, Floats, new_figure, plain, shorten
from magsd_cli.render.document import Drawing


@dataclass(frozen=True)
class Curve:
    """A ROC curve: false and true positive rates [T] in 0..1, and the area under it (None: undefined).

    interval: of the area, in words. band: false positive rates [G], and the lower and the upper bound of the
    true positive rate at each.
    """

    name: str
    false_rate: Floats = field(repr=False)
    true_rate: Floats = field(repr=False)
    area: float | None = None
    emphasised: bool = False
    interval: str = ""
    band: tuple[Floats, Floats, Floats] | None = field(default=None, repr=False)


def roc_figure(curves: Sequence[Curve], title: str) -> Drawing:
    """Fig. 6. ROC curves with their AUC in the legend; those emphasised (or the last) are drawn thick."""
    crowded = len(curves) > 6
    figure, (axes,) = new_figure(1, (10.4 if crowded else 6.4, 5.6))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance (AUC 50.00%)")
    for number, curve in enumerate(curves):
        area = "n/a" if curve.area is None else f"{100 * curve.area:.2f}%"
        area += f" {curve.interval}" if curve.interval else ""
        if curve.band is not None:
            axes.fill_between(*curve.band, color=COLOURS[number % len(COLOURS)], alpha=0.13, linewidth=0)
        axes.plot(
            curve.false_rate,
            curve.true_rate,
            color=COLOURS[number % len(COLOURS)],
            linestyle=STYLES[number % len(STYLES)],
            linewidth=2.6 if curve.emphasised else 1.5,
            label=plain(f"{shorten(curve.name, 36)} (AUC {area})"),
        )
    axes.set(xlabel="1 - specificity (share of the others called so)", ylabel="sensitivity (share)")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=plain(title))
    axes.grid(alpha=0.3)
    outside = {"loc": "center left", "bbox_to_anchor": (1.02, 0.5)} if crowded else {"loc": "lower right"}
    axes.legend(fontsize=8, **outside)
    return charts.drawing(figure)
