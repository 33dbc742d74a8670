"""Classic augmentation (Table 2), batched on the device of the images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from magsd_cli.method.zscore import column_z_score, statistics, unit_range
from magsd_cli.recipe import Classic, Recipe


def training_images(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """uint8 [B, 1, H, W] -> what the network trains on: augmented, z-scored float32 [B, 1, H, W].

    The z-score takes the clean image's mean and deviation; with the augmented image's own it would undo every
    change of brightness and contrast. By column it is the augmented image's, as in the authors' code.
    """
    clean = unit_range(images)
    mean, deviation = statistics(clean)
    augmented = classic_augment(clean, recipe.classic, generator) if recipe.classic.enabled else clean
    if recipe.image.z_score == "column":
        return column_z_score(augmented)
    return (augmented - mean) / deviation


def classic_augment(images: Tensor, settings: Classic, generator: Generator) -> Tensor:
    """Table 2. float [B, 1, H, W] in [0, 1] -> the same, each image with its own choice of the operations.

    Crop, shift, turn and flips are one affine resampling (bilinear); what comes in from outside is black (0).
    Brightness multiplies the gray levels; contrast multiplies their distance to the image's mean.
    """
    on = _choose_operations(len(images), images.device, settings, generator)
    grid = F.affine_grid(_matrices(images, on, settings, generator), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # Black begins at the image's outer edge; grid_sample's own zeros would darken half a pixel inside it too.
    moved = moved * (grid.abs() <= 1 + 1e-4).all(3).unsqueeze(1)
    brightness = _draw(settings.brightness, images, generator)
    contrast = _draw(settings.contrast, images, generator)
    brightness = torch.where(on["brightness"], brightness, 1.0).view(-1, 1, 1, 1)
    contrast = torch.where(on["contrast"], contrast, 1.0).view(-1, 1, 1, 1)
    moved = moved * brightness
    mean = moved.mean((1, 2, 3), keepdim=True)
    return (mean + contrast * (moved - mean)).clamp(0, 1)


def _choose_operations(
    batch: int, device: torch.device, settings: Classic, generator: Generator
) -> dict[str, Tensor]:
    """Choose the operations of each image: a random number, each with its probability, or all. bool [B]."""
    count = len(settings.operations)
    draws = torch.rand(batch, max(count, 1), device=device, generator=generator)
    if settings.choose == "random_number":
        number = torch.randint(0, count + 1, (batch, 1), device=device, generator=generator)
        chosen = draws.argsort(1).argsort(1) < number
    elif settings.choose == "each":
        chosen = draws < settings.probability
    else:
        chosen = (draws[:, :1] < settings.probability).expand(-1, draws.shape[1])
    off = torch.zeros(batch, dtype=torch.bool, device=device)
    names = ("brightness", "contrast", "crop", "rotation", "translation", "horizontal_flip", "vertical_flip")
    position = {name: i for i, name in enumerate(settings.operations)}
    return {name: chosen[:, position[name]] if name in position else off for name in names}


def _matrices(images: Tensor, on: dict[str, Tensor], settings: Classic, generator: Generator) -> Tensor:
    """A matrix per image from output to input positions: crop, shift, turn and flips in one, [B, 2, 3]."""
    height, width = images.shape[-2:]
    scale = torch.where(on["crop"], _draw(settings.crop_area, images, generator).sqrt(), 1.0)
    room = 1 - scale  # a crop's centre may move this far without leaving the image
    shift_x = room * _draw((-1.0, 1.0), images, generator)
    shift_y = room * _draw((-1.0, 1.0), images, generator)
    reach = 2 * settings.translation
    shift_x = shift_x + torch.where(on["translation"], _draw((-reach, reach), images, generator), 0.0)
    shift_y = shift_y + torch.where(on["translation"], _draw((-reach, reach), images, generator), 0.0)
    angle = torch.where(on["rotation"], _draw(settings.rotation, images, generator), 0.0) * (math.pi / 180)
    flip_x = torch.where(on["horizontal_flip"], -1.0, 1.0)
    flip_y = torch.where(on["vertical_flip"], -1.0, 1.0)
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    across = torch.stack([cosine * flip_x, -sine * flip_y * (height / width), shift_x], 1)
    down = torch.stack([sine * flip_x * (width / height), cosine * flip_y, shift_y], 1)
    return torch.stack([across, down], 1)


def _draw(limits: tuple[float, float], images: Tensor, generator: Generator) -> Tensor:
    return torch.empty(len(images), device=images.device).uniform_(*limits, generator=generator)
