from __future__ import annotations

import cv2
import numpy as np

from magsd_cli.evaluation.attention import gallery_rows
from magsd_cli.render.document import Document, Gallery, GalleryCase
from magsd_cli.render.markdown import render_markdown
from magsd_cli.render.overlays import SIDE, thumbnail


def test_errors_first_then_by_confidence() -> None:
    right = np.array([True, False, True, False, True])
    confidence = np.array([0.9, 0.6, 0.9, 0.8, 0.5])
    assert gallery_rows(right, confidence, list("edcba")) == [3, 1, 2, 0, 4]
    assert gallery_rows(right, confidence, list("edcba"), most=3) == [3, 1, 2]


def test_many_errors_leave_half_of_the_places_to_the_others() -> None:
    right = np.array([False] * 6 + [True] * 3)
    confidence = np.linspace(0.9, 0.1, 9)
    names = [str(i) for i in range(9)]
    assert gallery_rows(right, confidence, names, most=4) == [0, 1, 6, 7]
    assert gallery_rows(right, confidence, names, most=8) == [0, 1, 2, 3, 4, 6, 7, 8]


def test_the_picture_shows_the_attention_where_it_is() -> None:
    pixels = np.full((96, 96), 100, np.uint8)
    attention = np.zeros((4, 4), np.float32)
    attention[0, 3] = 7
    picture = cv2.imdecode(np.frombuffer(thumbnail(pixels, attention), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (SIDE, 2 * SIDE, 3)
    left, right = picture[:, :SIDE], picture[:, SIDE:]
    assert np.abs(left.astype(int) - 100).max() < 6
    changed = np.abs(right.astype(int) - 100).max(axis=2)
    assert changed[10, -10] > 40
    assert changed[-20:, :20].max() < 6


def test_without_attention_the_picture_is_the_image() -> None:
    picture = cv2.imdecode(
        np.frombuffer(thumbnail(np.zeros((64, 64), np.uint8), None), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture.shape == (SIDE, SIDE, 3)


def test_markdown_has_the_same_cases() -> None:
    gallery = Gallery(("a|b", "c"), (GalleryCase("x`y", 0, 1, 0.5, 2),), 9)
    text = render_markdown(Document("t", (gallery,)))
    assert "Shown are 1 of 9" in text
    assert r"| x\`y | a\|b | c | 50.0 | 2 |" in text
