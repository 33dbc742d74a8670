"""Attention-guided augmentation (section 3.3): mix-up, patching and dimming, for a whole batch at once.

Images are [B, 1, H, W]; the map that guides an augmentation is [B, 1, h, w], not negative. Boxes are
half-open pixel ranges [B, 4]: top, left, bottom, right. Nothing waits for the device or loops over images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from magsd_cli.recipe import Guide


def choose_maps(attention: Tensor, how: str, draws: int, generator: Generator) -> Tensor:
    """Draw `draws` maps for each image, independently: [B, M, h, w] -> [B, draws, h, w].

    `sqrt_sum`: with probability proportional to the square root of the map's sum; `uniform`: any map alike.
    An image whose maps are all zero draws uniformly.
    """
    sums = attention.float().sum((2, 3))
    weights = torch.nan_to_num(
        sums.sqrt() if how == "sqrt_sum" else torch.ones_like(sums), nan=0.0, posinf=1.0
    )
    weights = weights + (weights.sum(1, keepdim=True) <= 0)
    # An exponential race draws with the right probabilities and, unlike multinomial, waits for nothing.
    noise = torch.empty(len(weights), draws, weights.shape[1], device=weights.device)
    noise.exponential_(generator=generator)
    chosen = (weights[:, None] / noise.clamp_min(1e-30)).argmax(2)
    index = chosen[:, :, None, None].expand(-1, -1, *attention.shape[2:])
    return attention.gather(1, index)


def normalise_map(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """A*: the map brought to the image's size (bilinear) and divided by its maximum.

    [B, 1, h, w] -> [B, 1, H, W] in [0, 1]; an all-zero map stays zero.
    """
    large = F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=False)
    return large / large.amax((2, 3), keepdim=True).clamp_min(1e-12)


def region(normalised: Tensor, threshold: Tensor) -> Tensor:
    """Eq. 2. D(l, m) = 1 where A*(l, m) > theta_m, else 0. [B, 1, H, W], theta [B] in [0, 1] -> bool."""
    return normalised > threshold.view(-1, 1, 1, 1)


def bounding_box(inside: Tensor, padding: float) -> Tensor:
    """The box around each region, `padding` (share of the side) wider on each side, cut at the border.

    An empty region gives the whole image, so that the view stays a copy. bool [B, 1, H, W] -> int64 [B, 4].
    """
    height, width = inside.shape[-2:]
    top, bottom = _extent(inside.any(3).squeeze(1), round(padding * height))
    left, right = _extent(inside.any(2).squeeze(1), round(padding * width))
    return torch.stack([top, left, bottom, right], dim=1)


def _extent(hit: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of the hits in rows of [B, L], padded; all of L where nothing hits."""
    length = hit.shape[1]
    index = torch.arange(length, device=hit.device).expand_as(hit)
    first = index.masked_fill(~hit, length).amin(1) - padding
    last = index.masked_fill(~hit, -1).amax(1) + 1 + padding
    some = hit.any(1)
    return torch.where(some, first, 0).clamp_min(0), torch.where(some, last, length).clamp_max(length)


def enlarge(images: Tensor, boxes: Tensor) -> Tensor:
    """B of eq. 3: what is inside each box, enlarged (bilinear) to the image's size. [B, 1, H, W] -> the same.

    Sample positions are held inside the box, so that nothing from outside it bleeds in.
    """
    height, width = images.shape[-2:]
    rows = _positions(boxes[:, 0], boxes[:, 2], height)
    columns = _positions(boxes[:, 1], boxes[:, 3], width)
    grid = torch.stack(
        [
            _unit(columns, width)[:, None, :].expand(-1, height, -1),
            _unit(rows, height)[:, :, None].expand(-1, -1, width),
        ],
        dim=3,
    )
    return F.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


def _positions(start: Tensor, stop: Tensor, length: int) -> Tensor:
    """Pixel positions [B, length] that spread start..stop over `length` pixels, centres to centres."""
    steps = (torch.arange(length, device=start.device) + 0.5) / length
    positions = start[:, None] + steps * (stop - start)[:, None] - 0.5
    return torch.minimum(torch.maximum(positions, start[:, None].float()), stop[:, None].float() - 1)


def _unit(positions: Tensor, length: int) -> Tensor:
    """Pixel positions in grid_sample's units, -1 and 1 being the outer edges."""
    return (positions + 0.5) * 2 / length - 1


def mix_up(images: Tensor, maps: Tensor, settings: Guide, generator: Generator) -> Tensor:
    """Eq. 3. I1 = gamma I0 + (1 - gamma) B, B being the enlarged box around the region D."""
    boxes = guided_boxes(images, maps, settings, generator)
    return settings.mixup_gamma * images + (1 - settings.mixup_gamma) * enlarge(images, boxes)


def patch(images: Tensor, maps: Tensor, settings: Guide, generator: Generator) -> Tensor:
    """I2 (section 3.3, 2). The box around D pasted at another place, all places being equally likely.

    The paste lies inside the image. Where the box fills the image no other place is left: a copy.
    """
    boxes = guided_boxes(images, maps, settings, generator)
    top, left = other_place(boxes, (images.shape[2], images.shape[3]), generator)
    rows, from_rows = _pasted(boxes[:, 0], boxes[:, 2], top, images.shape[2])
    columns, from_columns = _pasted(boxes[:, 1], boxes[:, 3], left, images.shape[3])
    moved = images.gather(2, from_rows[:, None, :, None].expand_as(images))
    moved = moved.gather(3, from_columns[:, None, None, :].expand_as(images))
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], moved, images)


def other_place(boxes: Tensor, size: tuple[int, int], generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw for each box a place inside the image other than its own: boxes [B, 4] -> tops [B], lefts [B].

    A box that fills the image stays where it is.
    """
    rows = size[0] - (boxes[:, 2] - boxes[:, 0]) + 1  # places along each axis, the present one among them
    columns = size[1] - (boxes[:, 3] - boxes[:, 1]) + 1
    others = rows * columns - 1
    present = boxes[:, 0] * columns + boxes[:, 1]
    draw = torch.rand(len(boxes), device=boxes.device, generator=generator)
    place = torch.minimum((draw * others).long(), (others - 1).clamp_min(0))
    place = torch.where(others > 0, place + (place >= present), present)
    return place // columns, place % columns


def _pasted(start: Tensor, stop: Tensor, place: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Along one axis: the pixels that start..stop covers, pasted at `place`, and where each comes from."""
    index = torch.arange(length, device=start.device)
    covered = (index >= place[:, None]) & (index < (place + stop - start)[:, None])
    return covered, (index - (place - start)[:, None]).clamp(0, length - 1)


def dim(images: Tensor, maps: Tensor, settings: Guide, generator: Generator) -> Tensor:
    """Eq. 4. DM(l, m) = factor where A*(l, m) > theta_d, else 1; I3 = DM * I0."""
    threshold = _uniform(settings.dimming_threshold, images, generator)
    normalised = normalise_map(maps, (images.shape[2], images.shape[3]))
    return torch.where(region(normalised, threshold), settings.dimming_factor * images, images)


def guided_boxes(images: Tensor, maps: Tensor, settings: Guide, generator: Generator) -> Tensor:
    """The box around D for each image, theta_m drawn uniformly from its range."""
    threshold = _uniform(settings.mixup_threshold, images, generator)
    normalised = normalise_map(maps, (images.shape[2], images.shape[3]))
    return bounding_box(region(normalised, threshold), settings.box_padding)


def _uniform(limits: tuple[float, float], like: Tensor, generator: Generator) -> Tensor:
    return torch.empty(len(like), device=like.device).uniform_(*limits, generator=generator)


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor, Guide, Generator], Tensor]] = {
    "mixup": mix_up,
    "patching": patch,
    "dimming": dim,
}
