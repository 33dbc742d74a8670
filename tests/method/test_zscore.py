"""Z-score per image."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler

from magsd_cli.method.zscore import column_z_score, z_score


def test_by_hand() -> None:
    # 51 and 153: mean 102, deviation (over N) 51, so -1 and 1; the second image has its own numbers.
    images = torch.tensor([[[[51, 153]]], [[[0, 255]]]], dtype=torch.uint8)
    assert torch.allclose(z_score(images).flatten(), torch.tensor([-1.0, 1.0, -1.0, 1.0]), atol=1e-6)


def test_bytes_and_shares_of_white_agree() -> None:
    images = torch.randint(0, 256, (2, 1, 9, 7), dtype=torch.uint8)
    assert torch.equal(z_score(images), z_score(images.float() / 255))


def test_one_gray_level_becomes_zero() -> None:
    images = torch.full((1, 1, 301, 299), 77, dtype=torch.uint8)
    assert z_score(images).abs().max() < 1e-2


def test_by_column_it_is_scikit_learns_scaler() -> None:
    images = torch.randint(0, 256, (2, 1, 9, 7), dtype=torch.uint8)
    images[0, 0, :, 3] = 40  # a column of one gray level
    found = column_z_score(images.float() / 255)
    for image, ours in zip(images, found, strict=True):
        expected = StandardScaler().fit_transform(image[0].numpy().astype(np.float64))
        assert np.abs(ours[0].numpy() - expected).max() < 1e-3
    assert torch.allclose(column_z_score(z_score(images)), found, atol=5e-3)
