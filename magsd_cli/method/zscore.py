"""Z-score per image (section 4.2)."""

import torch
from torch import Tensor


def z_score(images: Tensor) -> Tensor:
    """[B, 1, H, W] uint8 or float -> float32 with mean 0 and standard deviation 1 for each image."""
    values = images.float()
    mean, deviation = statistics(values)
    return (values - mean) / deviation


def statistics(values):
    mean = values.mean((1, 2, 3), keepdim=True)
    deviation = values.std((1, 2, 3), keepdim=True, correction=0).clamp_min(1e-6)
    return mean, deviation
