"""Masks from outlines and pictures at the cache's size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.layouts.listing import Outlines
from magsd_cli.data.masks import draw_mask


def test_outlines_are_stretched_to_the_square() -> None:
    left_half = Outlines(200, 100, (((0, 0), (100, 0), (100, 100), (0, 100)),))
    mask = draw_mask(left_half, 64)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[:, :31] == 255).all()
    assert (mask[:, 34:] == 0).all()


def test_picture(tmp_path: Path) -> None:
    picture = np.zeros((100, 200), np.uint8)
    picture[50:, 100:] = 255
    cv2.imwrite(str(tmp_path / "m.png"), picture)
    mask = draw_mask(tmp_path / "m.png", 64)
    expected = np.zeros((64, 64), np.uint8)
    expected[32:, 32:] = 255
    np.testing.assert_array_equal(mask, expected)
    cv2.imwrite(str(tmp_path / "empty.png"), picture * 0)
    assert draw_mask(tmp_path / "empty.png", 64).max() == 0


def test_unreadable(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_text("no")
    with pytest.raises(DecodeError):
        draw_mask(tmp_path / "m.png", 64)
    with pytest.raises(DecodeError):
        draw_mask(Outlines(0, 0, ()), 64)
