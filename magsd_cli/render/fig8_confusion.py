"""Fig. 8: confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from magsd_cli.render import charts
from magsd_cli.render.charts import new_figure, plain, shorten
from magsd_cli.render.document import Drawing

#: Of a share of 1, with its opacity: words can be read on it, black over white paper and white over dark.
CELL, MOST = "#0068a8", 0.8
SHADES = ListedColormap([(*to_rgb(CELL), MOST * step / 100) for step in range(101)])


def confusion_figure(confusion: npt.ArrayLike, classes: Sequence[str], title: str) -> Drawing:
    """Fig. 8. Confusion matrix [K,K] of counts, rows the truth: share of the row above, count below."""
    counts = np.asarray(confusion, np.float64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side = max(4.2, 1.15 * len(classes) + 1.9)
    figure, (axes,) = new_figure(1, (side + 0.8, side))
    picture = _draw_cells(axes, shares)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.2f}" if totals[row, 0] else "n/a"
        axes.text(column, row - 0.12, text, ha="center", va="center", fontsize=12)
        axes.text(column, row + 0.2, f"{counts[row, column]:.0f}", ha="center", va="center")
    names = [plain(shorten(name)) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted class", ylabel="true class", title=plain(title))
    bar = figure.colorbar(picture, ax=axes, label="share of the true class", fraction=0.046, pad=0.04)
    assert bar.solids is not None
    bar.solids.set(rasterized=True, edgecolor="none")  # no lines between its steps
    return charts.drawing(figure)


def confusion_grid(
    confusions: Mapping[str, npt.NDArray[np.int64]], classes: Sequence[str], columns: int = 4
) -> Drawing:
    """Fig. 8. Confusion matrices [K,K] side by side, by title: share of the row above, count below."""
    across = min(columns, len(confusions))
    down = -(-len(confusions) // across)
    figure = Figure(figsize=(3.1 * across + 0.4, 3.2 * down + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False).ravel()
    names = [plain(shorten(name)) for name in classes]
    for axes, (title, counts) in zip(grid, confusions.items(), strict=False):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        _draw_cells(axes, shares)
        for (row, column), share in np.ndenumerate(shares):
            text = f"{share:.2f}\n{counts[row, column]}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_title(plain(shorten(title, 28)), fontsize=8)
    for axes in grid[len(confusions) :]:
        axes.set_axis_off()
    figure.supxlabel("predicted class", fontsize=8)
    figure.supylabel("true class", fontsize=8)
    return charts.drawing(figure)


def _draw_cells(axes: Axes, shares: npt.NDArray[np.float64]) -> QuadMesh:
    """Draw a matrix [K,L] of shares in 0..1 as cells, the first row on top; the paper shines through."""
    rows, columns = shares.shape
    cells = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        shares,
        vmin=0,
        vmax=1,
        cmap=SHADES,
        edgecolor="white",
        linewidth=1,
    )
    axes.set(aspect="equal", ylim=(rows - 0.5, -0.5))
    return cells
