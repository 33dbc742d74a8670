"""Attention-guided augmentation: equations by hand, edges, and the batch against a plain loop over images."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from magsd_cli.method.guided import (
    AUGMENTATIONS,
    bounding_box,
    choose_maps,
    dim,
    enlarge,
    guided_boxes,
    mix_up,
    normalise_map,
    other_place,
    patch,
    region,
)
from magsd_cli.recipe import Guide

HALF = Guide(mixup_threshold=(0.5, 0.5), dimming_threshold=(0.5, 0.5), box_padding=0.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def row(*values: float) -> torch.Tensor:
    """One image of one row, [1, 1, 1, W]."""
    return torch.tensor([[[list(values)]]])


def test_normalised_map_by_hand() -> None:
    # 1, 3 over four pixels: samples at -0.25 (held at 0), 0.25, 0.75, 1.25 (held at 1): 1, 1.5, 2.5, 3.
    assert normalise_map(row(1.0, 3.0), (1, 4)).flatten().tolist() == pytest.approx([1 / 3, 0.5, 5 / 6, 1])


def test_equation_2_by_hand() -> None:
    inside = region(row(0.2, 0.5, 0.8), torch.tensor([0.5]))
    assert inside.flatten().tolist() == [False, False, True]  # 0.5 is not greater than 0.5


def test_equation_3_by_hand() -> None:
    # D is the middle two pixels. Enlarged to four: samples at 0.75 (held at 1), 1.25, 1.75, 2.25 (held at 2):
    # B = 10, 12.5, 17.5, 20. gamma 0.6: 0 + 4, 6 + 5, 12 + 7, 18 + 8.
    image, attention = row(0.0, 10.0, 20.0, 30.0), row(0.0, 1.0, 1.0, 0.0)
    assert enlarge(image, torch.tensor([[0, 1, 1, 3]])).flatten().tolist() == pytest.approx(
        [10, 12.5, 17.5, 20]
    )
    assert mix_up(image, attention, HALF, generator()).flatten().tolist() == pytest.approx([4, 11, 19, 26])


def test_equation_4_by_hand() -> None:
    dimmed = dim(row(1.0, 2.0, 3.0, 4.0), row(0.0, 0.4, 0.6, 1.0), HALF, generator())
    assert dimmed.flatten().tolist() == pytest.approx([1, 2, 0.3, 0.4])


def test_patching_by_hand() -> None:
    # The box is the first pixel; the only other places are the second and the third.
    seen = {
        tuple(patch(row(1.0, 2.0, 3.0), row(1.0, 0.0, 0.0), HALF, generator(seed)).flatten().tolist())
        for seed in range(20)
    }
    assert seen == {(1.0, 1.0, 3.0), (1.0, 2.0, 1.0)}


@pytest.mark.parametrize(
    ("rows", "columns", "padding", "box"),
    [
        (slice(2, 4), slice(5, 6), 0.0, [2, 5, 4, 6]),
        (slice(2, 4), slice(5, 6), 0.1, [1, 4, 5, 7]),  # 0.1 of 10 pixels is 1
        (slice(0, 1), slice(9, 10), 0.2, [0, 7, 3, 10]),  # cut at the corner
        (slice(0, 10), slice(0, 10), 0.1, [0, 0, 10, 10]),
        (slice(0, 0), slice(0, 0), 0.1, [0, 0, 10, 10]),  # nothing inside: the whole image
    ],
)
def test_boxes_by_hand(rows: slice, columns: slice, padding: float, box: list[int]) -> None:
    inside = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    inside[..., rows, columns] = True
    assert bounding_box(inside, padding).tolist() == [box]


def test_a_box_encloses_regions_that_hang_apart() -> None:
    inside = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    inside[..., 1, 2] = inside[..., 7, 5] = True
    assert bounding_box(inside, 0.0).tolist() == [[1, 2, 8, 6]]


def test_padding_is_a_share_of_each_side() -> None:
    inside = torch.zeros(1, 1, 40, 20, dtype=torch.bool)
    inside[..., 20, 10] = True
    assert bounding_box(inside, 0.1).tolist() == [[16, 8, 25, 13]]


def test_maps_are_drawn_with_their_probability() -> None:
    # Sums 1, 4, 9: roots 1, 2, 3, so a sixth, a third and a half.
    attention = torch.tensor([1.0, 4.0, 9.0]).view(1, 3, 1, 1).expand(4000, -1, -1, -1)
    drawn = choose_maps(attention, "sqrt_sum", 3, generator())
    for view in range(3):
        shares = [(drawn[:, view] == value).float().mean().item() for value in (1, 4, 9)]
        assert shares == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.03)
    together = ((drawn[:, 0] == 9) & (drawn[:, 1] == 9)).float().mean().item()
    assert together == pytest.approx(1 / 4, abs=0.03)  # one augmentation's draw does not touch another's
    alike = choose_maps(attention, "uniform", 1, generator())
    assert (alike == 9).float().mean().item() == pytest.approx(1 / 3, abs=0.03)


def test_a_map_of_zeros_is_drawn_only_among_zeros() -> None:
    attention = torch.zeros(500, 4, 2, 2)
    attention[:, 2] = 1e-6
    assert choose_maps(attention, "sqrt_sum", 2, generator()).min() > 0
    assert choose_maps(torch.zeros(2, 4, 2, 2), "sqrt_sum", 2, generator()).shape == (2, 2, 2, 2)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_a_map_of_zeros_leaves_a_copy(name: str) -> None:
    images = torch.randn(2, 1, 12, 10, generator=generator())
    view = AUGMENTATIONS[name](images, torch.zeros(2, 1, 3, 3), Guide(), generator())
    assert torch.allclose(view, images, atol=1e-5)


def test_a_constant_map_has_no_box_of_its_own_and_dims_everything() -> None:
    images, flat = torch.randn(2, 1, 12, 10, generator=generator()), torch.full((2, 1, 3, 3), 0.3)
    assert torch.allclose(mix_up(images, flat, Guide(), generator()), images, atol=1e-5)
    assert torch.equal(patch(images, flat, Guide(), generator()), images)
    assert torch.allclose(dim(images, flat, Guide(), generator()), 0.1 * images)


def test_a_patch_never_stays_while_there_is_room() -> None:
    boxes = torch.tensor([[0, 0, 10, 9], [2, 3, 5, 6], [0, 0, 10, 10]]).repeat(200, 1)
    top, left = other_place(boxes, (10, 10), generator())
    moved = (top != boxes[:, 0]) | (left != boxes[:, 1])
    assert moved.view(-1, 3).all(0).tolist() == [True, True, False]
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + boxes[:, 2] - boxes[:, 0] <= 10).all()
    assert (left + boxes[:, 3] - boxes[:, 1] <= 10).all()


def test_every_other_place_is_equally_likely() -> None:
    # A 1x1 box in a 2x2 image: three other places.
    boxes = torch.tensor([[1, 0, 2, 1]]).repeat(3000, 1)
    top, left = other_place(boxes, (2, 2), generator())
    shares = torch.bincount(top * 2 + left, minlength=4) / 3000
    assert shares.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.03)


def _boxes_one_by_one(
    maps: torch.Tensor, size: tuple[int, int], threshold: float, padding: float
) -> list[list[int]]:
    """The boxes as one would write them for a single image."""
    boxes = []
    for one in maps:
        large = F.interpolate(one[None], size=size, mode="bilinear", align_corners=False)[0, 0]
        rows, columns = torch.nonzero(large > threshold * large.max(), as_tuple=True)
        pad_y, pad_x = round(padding * size[0]), round(padding * size[1])
        boxes.append([
            max(int(rows.min()) - pad_y, 0), max(int(columns.min()) - pad_x, 0),
            min(int(rows.max()) + 1 + pad_y, size[0]), min(int(columns.max()) + 1 + pad_x, size[1]),
        ])  # fmt: skip
    return boxes


def test_the_batch_agrees_with_a_loop_over_images() -> None:
    images = torch.randn(16, 1, 33, 47, generator=generator(1))
    maps = torch.rand(16, 1, 5, 6, generator=generator(2)) ** 4
    settings = Guide(mixup_threshold=(0.5, 0.5), dimming_threshold=(0.3, 0.3))
    boxes = _boxes_one_by_one(maps, (33, 47), 0.5, 0.1)
    assert guided_boxes(images, maps, settings, generator()).tolist() == boxes
    mixed = mix_up(images, maps, settings, generator())
    dimmed = dim(images, maps, settings, generator())
    patched = patch(images, maps, settings, generator())
    for i, (top, left, bottom, right) in enumerate(boxes):
        image, crop = images[i : i + 1], images[i : i + 1, :, top:bottom, left:right]
        large = F.interpolate(crop, size=(33, 47), mode="bilinear", align_corners=False)
        assert torch.allclose(mixed[i : i + 1], 0.6 * image + 0.4 * large, atol=1e-5)
        attention = F.interpolate(maps[i : i + 1], size=(33, 47), mode="bilinear", align_corners=False)
        mask = torch.ones_like(image)
        mask[attention > 0.3 * attention.max()] = 0.1
        assert torch.allclose(dimmed[i : i + 1], mask * image, atol=1e-6)
        assert _is_pasted(patched[i : i + 1], image, crop, (top, left))


def _is_pasted(view: torch.Tensor, image: torch.Tensor, crop: torch.Tensor, origin: tuple[int, int]) -> bool:
    """Whether `view` is `image` with `crop` pasted at some place other than `origin`."""
    height, width = crop.shape[2:]
    for top in range(image.shape[2] - height + 1):
        for left in range(image.shape[3] - width + 1):
            pasted = image.clone()
            pasted[..., top : top + height, left : left + width] = crop
            if (top, left) != origin and torch.equal(pasted, view):
                return True
    return crop.shape == image.shape and torch.equal(view, image)


def test_the_box_is_where_the_attention_is() -> None:
    # A blob of width 3 around (40, 20) in a 64x64 image is seen by an 8x8 map; the box holds its peak.
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    maps = torch.exp(-((y - 4.5) ** 2 + (x - 2) ** 2) / 2)[None, None]
    top, left, bottom, right = guided_boxes(torch.zeros(1, 1, 64, 64), maps, Guide(), generator())[0].tolist()
    assert top <= 40 < bottom
    assert left <= 20 < right
    assert (bottom - top) * (right - left) < 0.4 * 64 * 64


def test_enlarging_takes_nothing_from_outside_the_box() -> None:
    images = torch.full((1, 1, 16, 16), 1e6)
    images[..., 4:9, 3:7] = 2.0
    assert torch.allclose(enlarge(images, torch.tensor([[4, 3, 9, 7]])), torch.tensor(2.0), atol=1e-3)


def test_thresholds_are_drawn_from_their_range() -> None:
    # On a ramp from 0 to 1 the share of dimmed pixels is 1 - theta_d: between 0.5 and 0.8, and it varies.
    ramp = torch.linspace(0, 1, 101).view(1, 1, 1, 101).expand(400, -1, -1, -1)
    dimmed = dim(torch.ones_like(ramp), ramp, Guide(), generator()) < 1
    shares = dimmed.float().mean((1, 2, 3))
    assert 0.49 < shares.min() < 0.53
    assert 0.77 < shares.max() < 0.81


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_generator_decides(name: str) -> None:
    images = torch.randn(4, 1, 20, 20, generator=generator(5))
    maps = torch.rand(4, 1, 4, 4, generator=generator(6)) ** 3
    state = torch.get_rng_state()
    one, same, other = (AUGMENTATIONS[name](images, maps, Guide(), generator(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())
    assert math.isfinite(one.sum().item())
