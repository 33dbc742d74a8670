"""Z-score per image (section 4.2), or per column of an image as in the authors' code."""

from __future__ import annotations

from torch import Tensor


def z_score(images: Tensor) -> Tensor:
    """uint8 [B, 1, H, W], or float in [0, 1] -> float32 with mean 0 and deviation 1 for each image.

    An image of one gray level becomes 0 everywhere.
    """
    values = unit_range(images)
    mean, deviation = statistics(values)
    return (values - mean) / deviation


def column_z_score(values: Tensor) -> Tensor:
    """Float [B, 1, H, W] -> each column of each image with mean 0 and deviation 1; one gray level becomes 0.

    The authors' code (NOTES.md) fits scikit-learn's StandardScaler to the image, whose features are columns.
    Another brightness or contrast of the whole image gives the same.
    """
    mean = values.mean(2, keepdim=True)
    return (values - mean) / values.std(2, keepdim=True, correction=0).clamp_min(1e-4)


def unit_range(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]; float images are taken to be there already."""
    return images.float() if images.is_floating_point() else images.float() / 255


def statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over N, not N - 1) of each image in [0, 1]: [B, 1, 1, 1] each.

    The deviation is at least 1e-4, a fortieth of a gray level: below it there is nothing but rounding.
    """
    mean = values.mean((1, 2, 3), keepdim=True)
    deviation = values.std((1, 2, 3), keepdim=True, correction=0).clamp_min(1e-4)
    return mean, deviation
