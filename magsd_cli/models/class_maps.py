"""Class-aware maps: each logit split exactly over the pixels of the last features."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

#: A pooled value nearer to 0 is left out of the split: its parts cancel, and float32 cannot say how.
SMALLEST = 1e-9


class Pooled(NamedTuple):
    """The steps by which a linear classifier came to its logits.

    `features` F [B,C,h,w] and `attention` A [B,M,h,w], pooled to v_mk, the mean over pixels of A_m F_k
    (`attention_pooling`); `vector` [B, M * C] is v, `used` [B, M * C] what the classifier saw of it.
    """

    features: Tensor
    attention: Tensor
    vector: Tensor
    used: Tensor


def class_maps(pooled: Pooled, classifier: nn.Linear) -> Tensor:
    """The part of each class's logit that comes from each pixel, [B, K, h, w]; they sum to the logit.

    With r = `used` (the signed root of v, brought to a length, or v itself) a logit is sum_mk W_c,mk r_mk,
    and v_mk is a mean over pixels, so that the pixel x has of it
    CAM_c(x) = 1 / (h w) * sum_mk W_c,mk (r_mk / v_mk) A_m(x) F_k(x). The bias, and what v_mk within
    `SMALLEST` of 0 add, is spread evenly. Without root and norm it is Zhou et al.'s class activation map
    (CVPR 2016).
    """
    features, attention, vector, used = pooled
    size, pixels = (attention.shape[1], features.shape[1]), features.shape[2] * features.shape[3]
    large = vector.abs() > SMALLEST
    gain = torch.where(large, used / torch.where(large, vector, 1.0), 0.0)
    weights = (classifier.weight[None] * gain[:, None]).reshape(-1, len(classifier.weight), *size)
    by_map = torch.einsum("bkmc,bchw->bkmhw", weights, features)
    maps = torch.einsum("bkmhw,bmhw->bkhw", by_map, attention) / pixels
    even = torch.nn.functional.linear(torch.where(large, 0.0, used), classifier.weight, classifier.bias)
    return maps + even[..., None, None] / pixels


def alone(features: Tensor) -> Tensor:
    """The attention [B, 1, h, w] by which attention pooling becomes the mean over pixels: 1 everywhere."""
    return torch.ones_like(features[:, :1])


def at_maximum(features: Tensor) -> Tensor:
    """Features [B, C, h, w] whose mean over the pixels is their maximum: 0 but where that lies."""
    there = (features == features.amax((2, 3), keepdim=True)).to(features.dtype)
    return features * there * (features.shape[2] * features.shape[3] / there.sum((2, 3), keepdim=True))
