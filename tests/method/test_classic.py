"""Table 2, one operation at a time against what it must do, and the choice between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from magsd_cli.method.classic import classic_augment, training_images
from magsd_cli.recipe import Classic, Recipe


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(operation: str, **settings: Any) -> Classic:
    """Settings under which exactly this operation is applied to every image."""
    return Classic(operations=(operation,), choose="each", probability=1.0, **settings)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 1, 8, 8, generator=generator(1))


def test_no_operation_changes_nothing(images: torch.Tensor) -> None:
    for settings in (Classic(operations=()), Classic(choose="each", probability=0.0)):
        assert torch.allclose(classic_augment(images, settings, generator()), images, atol=1e-5)


def test_flips(images: torch.Tensor) -> None:
    across = classic_augment(images, only("horizontal_flip"), generator())
    down = classic_augment(images, only("vertical_flip"), generator())
    assert torch.allclose(across, images.flip(3), atol=1e-5)
    assert torch.allclose(down, images.flip(2), atol=1e-5)


@pytest.mark.parametrize(("degrees", "quarters"), [(90.0, 1), (-90.0, -1), (180.0, 2)])
def test_rotation_by_quarters(images: torch.Tensor, degrees: float, quarters: int) -> None:
    turned = classic_augment(images, only("rotation", rotation=(degrees, degrees)), generator())
    assert torch.allclose(turned, images.rot90(quarters, (2, 3)), atol=1e-5)


def test_rotation_keeps_circles_round_in_oblong_images() -> None:
    # A line along the middle row of a 9x17 image, turned by 90 degrees, is a line along the middle column.
    line = torch.zeros(1, 1, 9, 17)
    line[..., 4, 5:12] = 1
    turned = classic_augment(line, only("rotation", rotation=(90.0, 90.0)), generator())
    expected = torch.zeros(1, 1, 9, 17)
    expected[..., 1:8, 8] = 1
    assert torch.allclose(turned, expected, atol=1e-4)


def test_what_comes_in_from_outside_is_black() -> None:
    white = torch.ones(1, 1, 16, 16)
    turned = classic_augment(white, only("rotation", rotation=(45.0, 45.0)), generator())
    assert turned[..., 0, 0].item() == 0
    assert turned[..., 8, 8].item() == pytest.approx(1, abs=1e-5)


def test_a_crop_of_a_quarter_doubles_the_scale_and_stays_inside() -> None:
    # On a ramp of slope 1 a quarter of the area shows half the side: slope 1/2, values of the ramp only.
    ramp = torch.arange(32.0).expand(64, 1, 32, 32) / 32
    cropped = classic_augment(ramp, only("crop", crop_area=(0.25, 0.25)), generator())
    inner = cropped[..., 1:-1]
    assert torch.allclose(inner.diff(dim=3), torch.tensor(0.5 / 32), atol=1e-5)
    assert torch.allclose(cropped[..., 0, :], cropped[..., -1, :], atol=1e-5)  # no dark rim
    assert cropped.min() >= 0
    assert cropped.max() <= 31 / 32
    starts = cropped[:, 0, 0, 0]
    assert starts.min() < 0.1 < 0.4 < starts.max()  # crops lie everywhere from the left edge to the middle


def test_translation_moves_by_a_share_of_the_side() -> None:
    dot = torch.zeros(200, 1, 21, 21)
    dot[..., 10, 10] = 1
    moved = classic_augment(dot, only("translation", translation=0.2), generator())
    columns = (moved.sum(2) * torch.arange(21.0)).sum((1, 2)) - 10
    assert columns.abs().max() <= 0.2 * 21 + 1e-3
    assert columns.min() < -3 < 3 < columns.max()


def test_brightness_and_contrast_by_hand() -> None:
    # Mean of 0.2 and 0.6 is 0.4. Brightness 0.5: 0.1, 0.3. Contrast 0.5: 0.4 -+ 0.1.
    image = torch.tensor([[[[0.2, 0.6]]]])
    darker = classic_augment(image, only("brightness", brightness=(0.5, 0.5)), generator())
    flatter = classic_augment(image, only("contrast", contrast=(0.5, 0.5)), generator())
    assert darker.flatten().tolist() == pytest.approx([0.1, 0.3], abs=1e-5)
    assert flatter.flatten().tolist() == pytest.approx([0.3, 0.5], abs=1e-5)


def test_gray_levels_stay_gray_levels() -> None:
    image = torch.tensor([[[[0.2, 0.9]]]])
    assert classic_augment(image, only("brightness", brightness=(2.0, 2.0)), generator()).max() == 1


def test_brightness_survives_the_z_score() -> None:
    # The clean image's mean is 0.4, its deviation 0.2; halved gray levels 0.1 and 0.3 are -1.5 and -0.5.
    images = torch.tensor([[[[51, 153]]]], dtype=torch.uint8)
    recipe = Recipe(classic=only("brightness", brightness=(0.5, 0.5)))
    assert training_images(images, recipe, generator()).flatten().tolist() == pytest.approx(
        [-1.5, -0.5], abs=1e-4
    )


def test_switched_off_it_is_the_plain_z_score() -> None:
    images = torch.tensor([[[[51, 153]]]], dtype=torch.uint8)
    plain = training_images(images, Recipe(classic=Classic(enabled=False)), generator())
    assert plain.flatten().tolist() == pytest.approx([-1, 1], abs=1e-5)


def test_a_random_number_of_operations_is_uniform_from_none_to_all() -> None:
    # Brightness 0.5, contrast 0 and both flips: the number of operations is 0..4, a fifth each,
    # so each single one is applied to half of the images.
    image = torch.tensor([[[[0.2, 0.6], [0.2, 0.6]]]]).expand(4000, -1, -1, -1)
    settings = Classic(
        operations=("brightness", "contrast", "horizontal_flip", "vertical_flip"),
        brightness=(0.5, 0.5),
        contrast=(0.0, 0.0),
    )
    result = classic_augment(image, settings, generator())
    dark = result.mean((1, 2, 3)) < 0.3
    flat = result.std((1, 2, 3)) < 1e-4
    none = ((result - image).abs().amax((1, 2, 3)) < 1e-4).float().mean()
    assert dark.float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert flat.float().mean().item() == pytest.approx(0.5, abs=0.03)
    # Both: sum over n of n(n-1)/(4*3)/5 = (0 + 0 + 2 + 6 + 12)/60 = 1/3, not the 1/4 of independent draws.
    assert (dark & flat).float().mean().item() == pytest.approx(1 / 3, abs=0.03)
    # Unchanged to the eye: n = 0 (1/5), or vertical flip alone (1/5 * 1/4).
    assert none.item() == pytest.approx(0.25, abs=0.03)


def test_the_generator_decides(images: torch.Tensor) -> None:
    state = torch.get_rng_state()
    one, same, other = (classic_augment(images, Classic(), generator(s)) for s in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_all_operations_or_none() -> None:
    settings = Classic(
        operations=("brightness", "horizontal_flip"), choose="all", probability=0.3, brightness=(0.5, 0.5)
    )
    images = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.9
    found = classic_augment(images, settings, torch.Generator().manual_seed(2))
    both = (found - 0.5 * images.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    none = (found - images).abs().amax((1, 2, 3)) < 1e-5
    assert bool((both ^ none).all())
    assert 80 < int(both.sum()) < 160
