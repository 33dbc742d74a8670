"""Films with the lungs that were found on them, side by side, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from magsd_cli.render.overlays import font, outlines

TILE = 208  # pixels a side
COLUMNS = 6
LINE, GAP = 17, 8
LUNG, TRUE, BOX, MISSED = (80, 220, 120), (90, 170, 255), (255, 176, 64), (235, 80, 80)
PAPER, INK = (24, 26, 30), (225, 228, 232)


@dataclass(frozen=True)
class LungTile:
    """A film uint8 [TILE,TILE], squeezed to a square; its lungs bool [S,S] and the box (x, y, width, height)
    that is kept, in the tile's pixels; both None where two lungs were not found; two lines of words.

    `true`: the lungs as a mask that was given has them, bool [S,S], or None.
    """

    film: npt.NDArray[np.uint8] = field(repr=False)
    lungs: npt.NDArray[np.bool_] | None = field(repr=False)
    box: tuple[int, ...] | None
    title: str
    name: str
    true: npt.NDArray[np.bool_] | None = field(default=None, repr=False)


def draw_lung_panel(tiles: Sequence[LungTile]) -> npt.NDArray[np.uint8]:
    """All tiles in rows of `COLUMNS`, BGR: lungs green (as given: blue), the box orange, red without."""
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    high = TILE + 2 * LINE + GAP
    sheet = Image.new("RGB", (columns * (TILE + GAP) + GAP, rows * high + GAP), PAPER)
    for number, tile in enumerate(tiles):
        x, y = GAP + number % columns * (TILE + GAP), GAP + number // columns * high
        sheet.paste(_drawn(tile), (x, y))
        draw = ImageDraw.Draw(sheet)
        for line, text in enumerate((tile.title, tile.name)):
            draw.text((x, y + TILE + line * LINE), text[:26], fill=INK, font=font(13))
    return np.asarray(cv2.cvtColor(np.asarray(sheet), cv2.COLOR_RGB2BGR), np.uint8)


def _drawn(tile: LungTile) -> Image.Image:
    picture = Image.fromarray(tile.film).convert("RGB")
    draw = ImageDraw.Draw(picture)
    if tile.true is not None:
        for line in outlines(tile.true, (TILE, TILE)):
            draw.line(line, fill=TRUE, width=1)
    if tile.lungs is None or tile.box is None:
        draw.rectangle((0, 0, TILE - 1, TILE - 1), outline=MISSED, width=4)
        return picture
    for line in outlines(tile.lungs, (TILE, TILE)):
        draw.line(line, fill=LUNG, width=1)
    x, y, width, height = tile.box
    draw.rectangle((x, y, x + width - 1, y + height - 1), outline=BOX, width=1)
    return picture
