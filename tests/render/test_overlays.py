"""The overlay shows what it should where it should; what it looks like is for eyes (docs)."""

from __future__ import annotations

import numpy as np
import pytest

from magsd_cli.render.overlays import (
    FOUND,
    MARGIN,
    PANEL,
    TRUE,
    ZONE,
    Overlay,
    attention_colours,
    draw_overlay,
)


def _overlay(height: int, width: int, **more: object) -> Overlay:
    attention = np.zeros((height, width), np.float32)
    attention[: height // 4, : width // 4] = 1
    box = (0.0, 0.0, width / 4, height / 4)
    pixels = np.full((height, width), 100, np.uint8)
    return Overlay(pixels, attention, attention > 0.5, box, title="Pneumonia 90%", lines=["x.png"], **more)  # type: ignore[arg-type]


def _has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=2).any())


def test_both_panels_and_the_text_are_there() -> None:
    picture = draw_overlay(_overlay(400, 400, true_boxes=[(200.0, 200.0, 100.0, 100.0)]))
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 2 * PANEL + 3 * MARGIN
    left = picture[MARGIN : MARGIN + PANEL, MARGIN : MARGIN + PANEL]
    assert (left == 100).all()  # the original is untouched
    right = picture[MARGIN : MARGIN + PANEL, 2 * MARGIN + PANEL : 2 * (MARGIN + PANEL)]
    assert (right[PANEL - 50 :, PANEL - 50 :] == 100).all()  # no attention, no colour
    assert right[40, 40, 0] > right[40, 40, 2]  # much attention: warm
    assert _has(right, FOUND)
    assert _has(right, TRUE)
    assert (picture[MARGIN + PANEL + 5 :].max(axis=(0, 2)) > 200).any()  # text


def test_without_truth_there_is_no_truth() -> None:
    assert not _has(draw_overlay(_overlay(300, 300)), TRUE)


def test_boxes_masks_and_zones_are_drawn_in_one_picture() -> None:
    zones = np.zeros((300, 300), np.uint8)
    zones[150:200, 150:250], zones[200:280, 150:250] = 1, 2
    mask = np.zeros((300, 300), bool)
    mask[220:260, 30:80] = True
    boxes = [(100.0, 20.0, 50.0, 50.0)]
    more = {"zones": zones, "zone_words": ["A 1", "B 2.5"], "true_mask": mask, "true_boxes": boxes}
    picture = draw_overlay(_overlay(300, 300, **more))
    right = picture[MARGIN : MARGIN + PANEL, 2 * MARGIN + PANEL : 2 * (MARGIN + PANEL)]
    for colour in (FOUND, TRUE, ZONE):
        assert _has(right, colour)
    rows = np.flatnonzero((right == np.array(ZONE)).all(axis=2).any(axis=1))
    assert rows.min() == pytest.approx(150 * PANEL / 300, abs=3)
    assert rows.max() == pytest.approx(280 * PANEL / 300, abs=3)
    assert not _has(draw_overlay(_overlay(300, 300)), ZONE)


def test_any_shape_and_text(tmp_path: object) -> None:
    for height, width in ((50, 2000), (2000, 50), (17, 17)):
        overlay = _overlay(height, width, true_mask=np.ones((height, width), bool))
        picture = draw_overlay(overlay)
        assert picture.shape[1] >= 640
    plain = Overlay(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.float32), np.zeros((9, 9), bool))
    assert draw_overlay(plain).ndim == 3
    wordy = Overlay(plain.pixels, plain.attention, plain.mask, title="x" * 900, lines=["y " * 900, "z" * 900])
    assert draw_overlay(wordy).shape[1] < 1500


def test_a_smaller_copy_for_the_eye_gives_the_same_marks() -> None:
    whole = _overlay(800, 800)
    small = Overlay(whole.pixels[::2, ::2], whole.attention, whole.mask, whole.box, title=whole.title)
    np.testing.assert_array_equal(
        draw_overlay(Overlay(whole.pixels, whole.attention, whole.mask, whole.box, title=whole.title)),
        draw_overlay(small),
    )


def test_colours_get_lighter_and_more_opaque_with_attention() -> None:
    colours, opacity = attention_colours(np.linspace(0, 1, 50, dtype=np.float32))
    lightness = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    assert opacity[0] == 0
    assert (np.diff(opacity[:, 0]) >= 0).all()
