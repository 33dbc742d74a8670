"""Draws docs/guided-views.png: what attention-guided augmentation (section 3.3) makes of an X-ray.

    python docs/make_guided_views.py --run runs/NAME            a trained run's own attention on real X-rays
    python docs/make_guided_views.py                            phantoms, the map drawn from the known lesion

Every view is made by the very functions that training calls. Only the thresholds are held at the middle of
their ranges, so that one box fits a whole row.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from magsd_cli.artifacts.checkpoints import load_weights
from magsd_cli.artifacts.files import atomic_path
from magsd_cli.artifacts.runs import open_run, weights_path
from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.data.decode import read_image
from magsd_cli.method.guided import choose_maps, dim, guided_boxes, mix_up, normalise_map, patch, region
from magsd_cli.method.zscore import statistics, unit_range
from magsd_cli.models.build import build_model
from magsd_cli.recipe import Guide
from magsd_cli.tools.phantoms import draw_phantom

HERE = Path(__file__).resolve().parent
XRAYS = HERE.parents[1] / "shared" / "data" / "cxr" / "images"
ROWS = ("COVID-19", "COVID-19", "Pneumonia", "Pneumonia")  # of phantoms
FILMS = ("Pneumonia", "Pneumonia", "Normal", "Normal")  # the classes whose films are ChestX-ray8's
COLUMNS = (
    "X-ray",
    "one of its attention maps\nand the box of eq. 2",
    "mix-up (eq. 3)",
    "patching: the box\npasted elsewhere",
    "dimming (eq. 4)",
)
BOX, PASTED, OUTLINE = "#ffd60a", "#40e0ff", "#ffffff"


class Case(NamedTuple):
    """X-rays: images uint8 [B, 1, S, S], attention [B, M, h, w], a name for each, and their origin."""

    images: torch.Tensor
    attention: torch.Tensor
    names: list[str]
    origin: str


def from_run(folder: Path, fold: int, seed: int) -> Case:
    """Real X-rays, drawn with `seed`, with the attention maps of a run's network."""
    run = open_run(folder)
    model = build_model(run.recipe.model.model_copy(update={"weights": "none"}), len(run.classes), seed=0)
    load_weights(model, weights_path(run.path, fold), run.classes)
    rng = np.random.default_rng(seed)
    size, made = run.recipe.image.size, run.preprocessing
    pixels, names = [], []
    for label in FILMS:
        paths = sorted((XRAYS / label).iterdir())
        path = paths[int(rng.integers(len(paths)))]
        cached = prepare_pixels(read_image(path).pixels, made)
        pixels.append(prepare_pixels(cached, replace(made, size=size, clahe=False)))
        names.append(f"{label}\n{path.stem[:20]}")
    images = torch.from_numpy(np.stack(pixels))[:, None]
    with torch.inference_mode():
        attention = model.eval()(standardised(images)).attention
    backbone = run.recipe.model.backbone
    films = "films of ChestX-ray8 (NIH Clinical Center)"
    return Case(images, attention, names, f"{films}, attention of a {backbone} trained at {size} px")


def from_phantoms(seed: int) -> Case:
    """Phantoms, whose one attention map is their known lesion, averaged over a 7 x 7 grid."""
    rng = np.random.default_rng(seed)
    drawn = [draw_phantom(label, rng, 224) for label in ROWS]
    images = torch.from_numpy(np.stack([pixels for pixels, _ in drawn]))[:, None]
    lesions = torch.from_numpy(np.stack([mask for _, mask in drawn]))[:, None].float()
    attention = torch.nn.functional.adaptive_avg_pool2d(lesions, 7)
    return Case(images, attention, list(ROWS), "phantoms; the map is the known lesion on a 7 x 7 grid")


def standardised(images: torch.Tensor) -> torch.Tensor:
    """The network's input: z-scored float32 of uint8 images."""
    mean, deviation = statistics(unit_range(images))
    return (unit_range(images) - mean) / deviation


def draw(case: Case, seed: int) -> Figure:
    """One row for each X-ray, one column for each of `COLUMNS`."""
    guide = Guide(mixup_threshold=(0.5, 0.5), dimming_threshold=(0.35, 0.35))
    inputs = standardised(case.images)
    maps = choose_maps(case.attention, guide.map_choice, 1, torch.Generator().manual_seed(seed))
    boxes = guided_boxes(inputs, maps, guide, torch.Generator())
    views = [view(inputs, maps, guide, torch.Generator().manual_seed(seed)) for view in (mix_up, patch, dim)]
    strength = normalise_map(maps, (inputs.shape[2], inputs.shape[3]))
    inside = region(strength, torch.full((len(inputs),), guide.mixup_threshold[0]))
    figure = Figure(figsize=(11, 2.25 * len(inputs) + 0.75), dpi=85, layout="constrained")
    grid = figure.subplots(len(inputs), len(COLUMNS), squeeze=False)
    for i, row in enumerate(grid):
        limits = (float(inputs[i].min()), float(inputs[i].max()))
        pictures = [inputs[i], inputs[i], *(view[i] for view in views)]
        for axes, picture, title in zip(row, pictures, COLUMNS, strict=True):
            _show(axes, picture, limits, title if i == 0 else "")
        row[0].set_ylabel(case.names[i], fontsize=8)
        row[1].imshow(strength[i, 0], cmap="inferno", alpha=0.5, vmin=0, vmax=1)
        row[1].contour(inside[i, 0].float(), levels=[0.5], colors=OUTLINE, linewidths=0.9)
        _box(row[1], boxes[i].tolist(), BOX)
        _box(row[3], boxes[i].tolist(), BOX)
        _box(row[3], _pasted(boxes[i].tolist(), inputs[i], views[1][i]), PASTED, dashed=True)
    figure.supxlabel(
        f"Yellow: the box around what exceeds {guide.mixup_threshold[0]:g} of the map's maximum (white), "
        f"padded by {guide.box_padding:.0%} of the side. Blue: where it was pasted.\nHere: {case.origin}.",
        fontsize=8,
    )
    return figure


def _pasted(box: list[int], before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Where `box` was pasted: the only place of its size that holds its pixels and all that changed."""
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    windows = after[0].unfold(0, height, 1).unfold(1, width, 1)
    same = (windows == before[0, top:bottom, left:right]).all(3).all(2)
    same[top, left] = False  # where it came from, unless the paste lies over it
    row, column = same.nonzero()[0].tolist() if same.any() else (top, left)
    return [row, column, row + height, column + width]


def _show(axes: Axes, picture: torch.Tensor, limits: tuple[float, float], title: str) -> None:
    axes.imshow(picture[0], cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="bilinear")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _box(axes: Axes, box: list[int], colour: str, dashed: bool = False) -> None:
    top, left, bottom, right = box
    style = "--" if dashed else "-"
    axes.add_patch(
        Rectangle(
            (left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color=colour, lw=1.6, ls=style
        )
    )


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours: a third of the size, and the eye sees no difference."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    few = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, format="PNG", optimize=True)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="folder of a trained run")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="which X-rays, which maps, where the paste goes")
    parser.add_argument("--out", type=Path, default=HERE / "guided-views.png")
    options = parser.parse_args()
    real = options.run is not None and XRAYS.is_dir()
    case = from_run(options.run, options.fold, options.seed) if real else from_phantoms(options.seed)
    with atomic_path(options.out) as temporary:
        _save(draw(case, options.seed), temporary)


if __name__ == "__main__":
    main()
