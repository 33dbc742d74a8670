"""The panel of the paper's Fig. 7: image, truth, attention, prediction and IoU, a row for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image, ImageDraw

from magsd_cli.render.overlays import (
    FAINT,
    FOUND,
    INK,
    MARGIN,
    PAPER,
    TRUE,
    Colour,
    Mask,
    Overlay,
    Pixels,
    corners,
    dashes,
    draw_zones,
    font,
    heated,
    outlines,
)

TILE = 210  # pixels of a tile's side
COLUMNS = ("image", "truth", "attention", "prediction")
HEAD, FOOT = 30, 26
FILLED = 0.4  # opacity of a filled region: the lung must stay visible under it


@dataclass(frozen=True)
class PanelRow:
    """An image of the panel: what an overlay shows of it, and the words below.

    `boxed`: boxes are compared, not regions. `zone_values`: of each zone of the overlay what is true and what
    the attention is, in 0..1; then these are compared.
    """

    overlay: Overlay = field(repr=False)
    words: str
    boxed: bool = False
    zone_values: tuple[Sequence[float], Sequence[float]] | None = None


def draw_panel(groups: Sequence[tuple[str, Sequence[PanelRow]]]) -> Pixels:
    """The groups (title, rows) one below the other, as a picture uint8 [h,w,3] (RGB)."""
    width = MARGIN + len(COLUMNS) * (TILE + MARGIN)
    row_height = TILE + FOOT
    height = MARGIN + sum(2 * HEAD + len(rows) * row_height + MARGIN for _, rows in groups)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for title, rows in groups:
        draw.text((MARGIN, top), title, fill=INK, font=font(19))
        top += HEAD
        for number, name in enumerate(COLUMNS):
            draw.text((MARGIN + number * (TILE + MARGIN), top + 6), name, fill=FAINT, font=font(15))
        top += HEAD
        for row in rows:
            for number, tile in enumerate(_tiles(row)):
                left = MARGIN + number * (TILE + MARGIN)
                sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
            draw.text((MARGIN, top + TILE + 3), row.words, fill=INK, font=font(15))
            top += row_height
        top += MARGIN
    return np.asarray(sheet)


def _tiles(row: PanelRow) -> list[Image.Image]:
    overlay = row.overlay
    height, width = overlay.mask.shape
    scale = TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    gray = np.asarray(cv2.resize(overlay.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    attention = np.asarray(cv2.resize(overlay.attention, size), np.float32)
    if overlay.zones is not None and row.zone_values is not None:
        truth, found = (_zone_tile(gray, overlay.zones, values) for values in row.zone_values)
        return [Image.fromarray(gray).convert("RGB"), truth, Image.fromarray(heated(gray, attention)), found]
    truth, found = Image.fromarray(gray).convert("RGB"), Image.fromarray(gray).convert("RGB")
    if overlay.true_mask is not None:
        truth = _filled(truth, overlay.true_mask, TRUE)
    _draw_truth(truth, overlay, scale)
    if not row.boxed:
        found = _filled(found, overlay.mask, FOUND)
    elif overlay.box is not None:
        ImageDraw.Draw(found).line(corners(overlay.box, scale), fill=FOUND, width=3, joint="curve")
    _draw_truth(found, overlay, scale)
    return [Image.fromarray(gray).convert("RGB"), truth, Image.fromarray(heated(gray, attention)), found]


def _zone_tile(gray: Pixels, zones: Pixels, values: Sequence[float]) -> Image.Image:
    """The zones [H,W], each in the colour that attention of its value has."""
    size = (gray.shape[1], gray.shape[0])
    small = cv2.resize(zones, size, interpolation=cv2.INTER_NEAREST)
    tile = Image.fromarray(heated(gray, np.array([0.0, *values], np.float32)[small]))
    draw_zones(ImageDraw.Draw(tile), zones, size)
    return tile


def _filled(tile: Image.Image, mask: Mask, colour: Colour) -> Image.Image:
    inside = cv2.resize(mask.astype(np.float32), tile.size, interpolation=cv2.INTER_LINEAR) >= 0.5
    opacity = FILLED * inside[..., None]
    mixed = np.asarray(tile) * (1 - opacity) + np.array(colour) * opacity
    return Image.fromarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))


def _draw_truth(tile: Image.Image, overlay: Overlay, scale: float) -> None:
    draw = ImageDraw.Draw(tile)
    if overlay.true_mask is not None:
        for line in outlines(overlay.true_mask, tile.size):
            dashes(draw, line, TRUE)
    for box in overlay.true_boxes:
        dashes(draw, corners(box, scale), TRUE)
