"""A picture of where the network looked: the radiograph, and beside it the same with the attention on it.

Colours are told apart by the colour-blind too and again by line style: what the network marks is a solid
yellow line, what is true is a dashed cyan one, and zones of the lungs have dotted green ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]
Colour = tuple[int, int, int]
PANEL = 560  # pixels of a panel's longer side
MARGIN = 14
FOUND: Colour = (255, 214, 10)
TRUE: Colour = (64, 224, 255)
ZONE: Colour = (150, 235, 130)
PAPER: Colour = (17, 20, 24)
INK: Colour = (236, 239, 242)
FAINT: Colour = (150, 158, 168)
STRONGEST = 0.55  # opacity of the strongest attention: the lung must stay visible under it
SIDE = 144  # pixels of a thumbnail
QUALITY = 80


@dataclass(frozen=True)
class Overlay:
    """The parts of a picture.

    pixels uint8 [h,w], the image or a smaller copy of it; attention float32 [H,W] in 0..1; mask bool [H,W]
    and box (x, y, width, height) in its pixels, as the network marks them; true_mask [H,W] and true_boxes
    where they are known; zones uint8 [H,W], numbered from 1 on (0: none), and the words of each; title and
    lines of text below.
    """

    pixels: Pixels = field(repr=False)
    attention: Floats = field(repr=False)
    mask: Mask = field(repr=False)
    box: Box | None = None
    true_mask: Mask | None = field(default=None, repr=False)
    true_boxes: Sequence[Box] = ()
    zones: Pixels | None = field(default=None, repr=False)
    zone_words: Sequence[str] = ()
    title: str = ""
    lines: Sequence[str] = ()


def draw_overlay(overlay: Overlay) -> Pixels:
    """The picture, uint8 [h,w,3] (RGB): original left, overlay right, legend and text below."""
    height, width = overlay.mask.shape
    scale = PANEL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if max(overlay.pixels.shape) > PANEL else cv2.INTER_CUBIC
    gray = np.asarray(cv2.resize(overlay.pixels, size, interpolation=method), np.uint8)
    left = Image.fromarray(gray).convert("RGB")
    right = Image.fromarray(heated(gray, np.asarray(cv2.resize(overlay.attention, size), np.float32)))
    _draw_marks(right, overlay, scale)
    return np.asarray(_composed(left, right, overlay))


def attention_colours(attention: Floats) -> tuple[Floats, Floats]:
    """Colour float32 [...,3] in 0..255 and opacity [...,1] in 0..1 of attention in 0..1.

    Little attention is transparent; from a third of the maximum on it turns violet, orange, then light.
    """
    values = np.clip(attention, 0, 1)
    colours = np.empty((*values.shape, 3), np.float32)
    for channel in range(3):
        stops = np.array([stop[channel] for stop in _STOPS], np.float32)
        colours[..., channel] = np.interp(values, np.linspace(0, 1, len(_STOPS)), stops)
    opacity = STRONGEST * np.clip((values - 0.15) / 0.65, 0, 1)
    return colours, opacity[..., None].astype(np.float32)


# Dark violet, magenta, orange, yellow: rises in lightness all the way, so it reads in gray as well.
_STOPS: tuple[Colour, ...] = ((40, 10, 90), (110, 25, 140), (190, 50, 120), (240, 105, 60), (255, 200, 70))


def heated(gray: Pixels, attention: Floats) -> Pixels:
    """Attention [h,w] in 0..1 laid over an image of its size: uint8 [h,w,3] (RGB)."""
    return laid_over(gray, *attention_colours(attention))


def laid_over(gray: Pixels, colours: npt.NDArray[Any], opacity: npt.NDArray[Any]) -> Pixels:
    """Colours [h,w,3] in 0..255 with opacity [h,w,1] over an image of their size: uint8 [h,w,3] (RGB)."""
    mixed = gray[..., None] * (1 - opacity) + colours * opacity
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)


def in_own_range(attention: Floats, size: tuple[int, int]) -> Floats:
    """Attention [h,w] in 0..1 of its own range, as wide and high as `size` says."""
    low, high = float(attention.min()), float(attention.max())
    scaled = (attention - low) / max(high - low, 1e-12)
    return np.asarray(cv2.resize(scaled, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _draw_marks(panel: Image.Image, overlay: Overlay, scale: float) -> None:
    draw = ImageDraw.Draw(panel)
    for line in outlines(overlay.mask, panel.size):
        draw.line(line, fill=PAPER, width=3)  # the white line must show on white bone as well
        draw.line(line, fill=(255, 255, 255), width=1)
    if overlay.zones is not None:
        draw_zones(draw, overlay.zones, panel.size, overlay.zone_words)
    if overlay.true_mask is not None:
        for line in outlines(overlay.true_mask, panel.size):
            dashes(draw, line, TRUE)
    for box in overlay.true_boxes:
        dashes(draw, corners(box, scale), TRUE)
    if overlay.box is not None:
        draw.line(corners(overlay.box, scale), fill=FOUND, width=3, joint="curve")


def draw_zones(
    draw: ImageDraw.ImageDraw, zones: Pixels, size: tuple[int, int], words: Sequence[str] = ()
) -> None:
    """Dotted lines around the zones of labels [H,W], on a panel of `size`; `words` in their middles."""
    for number in range(1, int(zones.max()) + 1):
        zone = zones == number
        for line in outlines(zone, size):
            dashes(draw, line, ZONE, 2, 4)
        if words and zone.any():
            rows, columns = np.nonzero(zone)
            middle = (columns.mean() * size[0] / zones.shape[1], rows.mean() * size[1] / zones.shape[0])
            text = words[number - 1]
            draw.text(middle, text, ZONE, font(15), anchor="mm", stroke_width=2, stroke_fill=PAPER)


def outlines(mask: Mask, size: tuple[int, int]) -> list[list[tuple[float, float]]]:
    """Closed lines around the parts of `mask`, in pixels of a panel of `size`, smooth where it is larger."""
    wide = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    parts, _ = cv2.findContours((wide >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    lines = [[(float(x), float(y)) for x, y in part[:, 0]] for part in parts if len(part) > 2]
    return [[*line, line[0]] for line in lines]


def corners(box: Box, scale: float) -> list[tuple[float, float]]:
    """A box as a closed line, `scale` times as large."""
    x, y, width, height = (value * scale for value in box)
    right, bottom = x + width - 1, y + height - 1
    return [(x, y), (right, y), (right, bottom), (x, bottom), (x, y)]


def dashes(
    draw: ImageDraw.ImageDraw, line: Sequence[tuple[float, float]], colour: Colour, on: int = 9, off: int = 6
) -> None:
    """A dashed line through the points; the dashes run on around corners."""
    place = 0.0
    for (x, y), (to_x, to_y) in pairwise(line):
        length = float(np.hypot(to_x - x, to_y - y))
        at = 0.0
        while at < length:
            phase = place % (on + off)
            step = min((on if phase < on else on + off) - phase, length - at)
            if phase < on:
                ends = [(x + (to_x - x) * t / length, y + (to_y - y) * t / length) for t in (at, at + step)]
                draw.line(ends, fill=colour, width=2)
            at, place = at + step, place + step


def _composed(left: Image.Image, right: Image.Image, overlay: Overlay) -> Image.Image:
    """Both panels on dark paper with legend and text; wide enough for the text, whatever the panels are."""
    small = font(15)
    width = max(2 * left.width + 3 * MARGIN, 640)
    lines = [piece for line in overlay.lines for piece in _wrapped(line, small, width - 2 * MARGIN)]
    below = MARGIN + left.height + MARGIN
    sheet = Image.new("RGB", (width, below + 34 + 28 + 22 * len(lines) + MARGIN), PAPER)
    space = (width - 2 * left.width) // 3
    sheet.paste(left, (space, MARGIN))
    sheet.paste(right, (2 * space + left.width, MARGIN))
    draw = ImageDraw.Draw(sheet)
    title = _wrapped(overlay.title, font(20), width - 2 * MARGIN)
    draw.text((MARGIN, below), title[0] if title else "", fill=INK, font=font(20))
    _legend(sheet, draw, (MARGIN, below + 34), overlay)
    for number, line in enumerate(lines):
        draw.text((MARGIN, below + 34 + 28 + 22 * number), line, fill=FAINT, font=small)
    return sheet


def _legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int], overlay: Overlay) -> None:
    x, y = place
    small = font(15)
    # The bar shows the colours as they lie on a middle gray.
    bar = heated(
        np.full((12, 90), 110, np.uint8), np.linspace(0, 1, 90, dtype=np.float32)[None].repeat(12, 0)
    )
    sheet.paste(Image.fromarray(bar), (x, y + 4))
    entries: list[tuple[str, Colour, bool]] = [("attention", (0, 0, 0), False)]
    if overlay.mask.any():
        entries.append(("over threshold", (255, 255, 255), False))
    if overlay.box is not None:
        entries.append(("its box", FOUND, False))
    if overlay.true_mask is not None or overlay.true_boxes:
        entries.append(("true finding", TRUE, True))
    if overlay.zones is not None:
        entries.append(("zone and its score", ZONE, True))
    x += 98
    for text, colour, dashed in entries:
        if text != "attention":
            middle = [(float(x), y + 10.0), (x + 26.0, y + 10.0)]
            if dashed:
                dashes(draw, middle, colour, *((2, 4) if colour == ZONE else (7, 4)))
            else:
                draw.line(middle, fill=colour, width=3 if colour == FOUND else 1)
            x += 33
        draw.text((x, y), text, fill=INK, font=small)
        x += round(small.getlength(text)) + 24


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow."""
    return ImageFont.load_default(size)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """`text` in lines no wider than `width` pixels, broken between words, long words cut."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        while font.getlength(word) > width and len(word) > 1:
            word = word[:-2] + "…"  # noqa: PLW2901
        lines.append(word)
    return lines


def thumbnail(pixels: npt.NDArray[np.uint8], attention: npt.NDArray[np.float32] | None) -> bytes:
    """A JPEG of the image [S,S], with `attention` [h,w] over a second one beside it where there is any."""
    gray = np.asarray(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    picture = np.repeat(gray[..., None], 3, axis=2)
    if attention is not None:
        heat = heated(gray, in_own_range(attention, gray.shape[::-1]))
        picture = np.concatenate([picture, heat], axis=1)
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return data.tobytes()
