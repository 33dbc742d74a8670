"""The report's pictures. Figures are objects of their own: no pyplot, no global state.

Colours are Okabe and Ito's, which colour-blind readers can tell apart, orange and sky blue darkened until
they have a contrast of 3 on white; lines differ in style as well. ``report.css`` has each colour's dark
counterpart.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from magsd_cli.console import printable
from magsd_cli.render.document import Drawing
from magsd_cli.render.overlays import in_own_range, laid_over

Floats = npt.NDArray[np.float64]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#BF8300", "#3A97CC", "#000000")
GREY = "#767676"  # lines to compare with: chance, all images, none
STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
DPI = 200
LAYOUTS = 8  # passes at most
SHOWN = 400  # pixels of the longer side of an image in a gallery
QUALITY = 85
#: The same figures give the same bytes.
_PNG: dict[str, Any] = {"format": "png", "dpi": DPI, "metadata": {"Software": None}}
_SVG: dict[str, Any] = {"format": "svg", "metadata": {"Date": None, "Creator": None}}


@dataclass(frozen=True)
class Case:
    """One image of a gallery: pixels uint8 [H,W], attention [h,w] at any scale or None, and its words."""

    title: str
    pixels: npt.NDArray[np.uint8] = field(repr=False)
    attention: npt.NDArray[np.float32] | None = field(default=None, repr=False)


def training_figure(histories: Mapping[int, Mapping[str, Sequence[float]]]) -> Drawing:
    """Loss (left) and training accuracy (right) of each fold, epoch by epoch."""
    figure, (left, right) = new_figure(2, (9.2, 3.8))
    for fold, history in sorted(histories.items()):
        style: dict[str, Any] = {
            "color": COLOURS[fold % len(COLOURS)],
            "linestyle": STYLES[fold % len(STYLES)],
            "marker": "o" if len(history["loss"]) == 1 else None,
        }
        epochs = np.arange(1, len(history["loss"]) + 1)
        left.plot(epochs, history["loss"], label=f"fold {fold}", **style)
        right.plot(epochs, 100 * np.asarray(history["train_share_correct"]), **style)
    left.set(xlabel="epoch", ylabel="training loss (nats)", title="Loss")
    right.set(xlabel="epoch", ylabel="training accuracy (%)", title="Training accuracy")
    right.set_ylim(0, 101)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(fontsize=8)
    return drawing(figure)


def reliability_figure(series: Mapping[str, tuple[Floats, Floats, npt.NDArray[np.int64]]]) -> Drawing:
    """Share called right against confidence, a line for each of `series`; below, how many images a bin has.

    series: name -> (mean confidence, share right, images) of each bin, as `metrics.calibration.reliability`.
    """
    figure = Figure(figsize=(5.6, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="what it should be")
    for number, (name, (confidence, share, count)) in enumerate(series.items()):
        known = count > 0
        colour = COLOURS[number % len(COLOURS)]
        marker = "os^"[number % 3]
        above.plot(confidence[known], share[known], color=colour, marker=marker, label=plain(name))
        edges = (np.arange(len(count)) + 0.3 + 0.4 * number) / len(count)
        below.bar(edges, count, width=0.35 / len(count), color=colour)
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(-0.02, 1.02), title="Calibration, out of fold")
    below.set(xlabel="confidence (probability of the predicted class)", ylabel="images")
    above.grid(alpha=0.3)
    above.legend(fontsize=8)
    return drawing(figure)


def coverage_figure(coverage: Floats, error: Floats, overall: float) -> Drawing:
    """Error against coverage, both shares [T]; `overall`: the error of all images, as of random referral."""
    figure, (axes,) = new_figure(1, (6.0, 4.2))
    axes.axhline(100 * overall, color=GREY, linestyle=":", label="referred at random")
    known = np.linspace(0.01, 1, 100)
    best = np.maximum(0, known - (1 - overall)) / known  # all wrong answers are referred first
    axes.plot(
        100 * known, 100 * best, color=COLOURS[2], linestyle="--", label="all wrong ones referred first"
    )
    axes.plot(100 * coverage, 100 * error, color=COLOURS[0], label="least confident referred first")
    axes.set(xlabel="images answered (%)", ylabel="wrong among the answered (%)", xlim=(0, 101))
    axes.set(ylim=(0, None), title="Coverage and error, out of fold")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return drawing(figure)


def iou_figure(distributions: Mapping[str, Mapping[str, Floats]]) -> Drawing:
    """Draw how many images reach which IoU: a chart for each kind of truth, in it a line for each control.

    distributions: title -> name -> IoU of each image [N]; the first name is drawn as bars.
    """
    figure, charts = new_figure(len(distributions), (4.6 * len(distributions), 3.8))
    edges = np.linspace(0, 1, 21)
    for axes, (title, series) in zip(charts, distributions.items(), strict=True):
        for number, (name, values) in enumerate(series.items()):
            look: dict[str, Any] = {"color": COLOURS[number], "label": plain(name)}
            look |= {"alpha": 0.55} if number == 0 else {"histtype": "step", "linestyle": STYLES[number]}
            axes.hist(np.asarray(values, np.float64), bins=edges.tolist(), linewidth=1.6, **look)
        for share in (0.25, 0.5):
            axes.axvline(share, color=GREY, linestyle=":", linewidth=1)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="IoU (dotted: 0.25 and 0.5)", ylabel="images", xlim=(0, 1))
        axes.set_title(plain(shorten(title, 44)))
        axes.legend(fontsize=8)
    return drawing(figure)


def gallery_figure(cases: Sequence[Case]) -> Drawing:
    """Each case in two pictures: the image as the network gets it, and its attention laid over it."""
    columns = 2 if len(cases) > 1 else 1
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(columns * 4.9, rows * 2.95), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns * 2, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for number, case in enumerate(cases):
        plain_axes, overlay_axes = grid[2 * number], grid[2 * number + 1]
        film = _photograph(case)
        plain_axes.imshow(np.repeat(film[..., None], 3, axis=2), interpolation="none")
        # The first line has the room of both pictures, the last one stands beside the next title.
        *above, last = case.title.split("\n")
        title = "\n".join([*(shorten(line, 50) for line in above), shorten(last, 50 if not above else 30)])
        plain_axes.set_title(plain(title), fontsize=8, loc="left")
        attention = np.zeros((1, 1), np.float32) if case.attention is None else case.attention
        overlay_axes.imshow(_overlaid(film, attention), interpolation="none")
        if case.attention is not None:
            overlay_axes.set_title("attention", fontsize=8, loc="left")
    if any(case.attention is not None for case in cases):
        scale = ScalarMappable(Normalize(0, 1), "inferno")
        bar = figure.colorbar(scale, ax=list(grid), location="bottom", fraction=0.04, aspect=60, shrink=0.6)
        bar.set_label("attention, as a share of its range in each image", fontsize=8)
        bar.ax.tick_params(labelsize=8)
        assert bar.solids is not None
        bar.solids.set_rasterized(True)
    drawn = drawing(figure)
    return Drawing(drawn.png, _with_jpegs(drawn.svg))


def _photograph(case: Case) -> npt.NDArray[np.uint8]:
    """The image as large as it is shown, uint8 [h,w], its longer side `SHOWN` pixels."""
    height, width = case.pixels.shape
    scale = SHOWN / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(case.pixels, size, interpolation=method), np.uint8)


def _overlaid(film: npt.NDArray[np.uint8], attention: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Lay attention [h,w] over the film [H,W], scaled to its own range, clearer where stronger: [H,W,3]."""
    wide = in_own_range(attention, film.shape[::-1]).astype(np.float64)
    return laid_over(film, 255 * matplotlib.colormaps["inferno"](wide)[..., :3], 0.6 * wide[..., None])


def _with_jpegs(svg: bytes) -> bytes:
    """`svg` with its photographs as JPEG, which has a tenth of a PNG's bytes."""

    def smaller(found: re.Match[bytes]) -> bytes:
        png = base64.b64decode(found.group(1))
        buffer = io.BytesIO()
        Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=QUALITY)
        jpeg = buffer.getvalue()
        return found.group() if len(jpeg) > len(png) else b"data:image/jpeg;base64," + base64.b64encode(jpeg)

    return re.sub(rb"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, svg)


def plain(text: str) -> str:
    """Words as matplotlib should print them: no mathematics, no control characters."""
    return printable(text.replace("\n", "\0")).replace("\\x00", "\n").replace("$", r"\$")


def shorten(text: str, longest: int = 24) -> str:
    """A name that fits an axis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def new_figure(columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """An empty figure of the report's size and style."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, columns, squeeze=False).ravel())


def settle(figure: Figure) -> None:
    """Lay the figure out until nothing moves: around square pictures one pass leaves labels outside."""
    before: list[Any] = []
    for _ in range(LAYOUTS):
        figure.draw_without_rendering()
        places = [axes.get_position().bounds for axes in figure.axes]
        if before and np.allclose(before, places, atol=1e-3):
            return
        before = places


def drawing(figure: Figure) -> Drawing:
    """The figure as PNG and SVG."""
    files = []
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "magsd"}):
        # A class name in a script that the font lacks: boxes, not a crash.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        settle(figure)
        for settings in (_PNG, _SVG):
            buffer = io.BytesIO()
            figure.savefig(buffer, **settings)
            files.append(buffer.getvalue())
    return Drawing(*files)
