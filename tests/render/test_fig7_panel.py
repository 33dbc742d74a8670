"""The Fig. 7 panel: four tiles a row, truth and prediction where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from magsd_cli.render.fig7_panel import TILE, PanelRow, draw_panel
from magsd_cli.render.overlays import FOUND, MARGIN, TRUE, ZONE, Overlay

STEP = TILE + MARGIN


def overlay(height: int = 210, width: int = 210) -> Overlay:
    attention = np.zeros((height, width), np.float32)
    attention[: height // 3, : width // 3] = 1
    pixels = np.full((height, width), 100, np.uint8)
    return Overlay(pixels, attention, attention > 0.5, (0.0, 0.0, width / 3, height / 3))


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((picture == np.array(colour, np.uint8)).all(axis=2).any())


def columns(picture: np.ndarray) -> list[np.ndarray]:
    return [picture[:, MARGIN + k * STEP : MARGIN + k * STEP + TILE] for k in range(4)]


def test_boxes_stand_in_the_second_and_the_fourth_tile() -> None:
    shown = replace(overlay(), true_boxes=((100.0, 100.0, 80.0, 80.0),))
    image, truth, attention, found = columns(draw_panel([("Boxes", [PanelRow(shown, "IoU 0.00", True)])]))
    assert [has(tile, TRUE) for tile in (image, truth, attention, found)] == [False, True, False, True]
    assert [has(tile, FOUND) for tile in (image, truth, attention, found)] == [False, False, False, True]


def test_masks_are_filled_so_that_the_lung_shows_through() -> None:
    true = np.zeros((210, 210), bool)
    true[100:180, 100:180] = True
    picture = draw_panel([("Masks", [PanelRow(replace(overlay(), true_mask=true), "IoU 0.00")])])
    _, truth, _, found = columns(picture)
    expected = [100 * 0.6 + 0.4 * value for value in TRUE]
    assert truth[74 + 140, 140] == pytest.approx(expected, abs=1)
    expected = [100 * 0.6 + 0.4 * value for value in FOUND]
    assert found[74 + 30, 30] == pytest.approx(expected, abs=1)


def test_zones_have_the_colours_of_their_values() -> None:
    zones = np.zeros((210, 210), np.uint8)
    zones[20:100, 20:100], zones[100:180, 20:100] = 1, 2
    row = PanelRow(replace(overlay(), zones=zones), "x", zone_values=((0.0, 1.0), (1.0, 0.0)))
    image, truth, _, found = columns(draw_panel([("Zones", [row])]))
    upper, lower = (74 + 60, 60), (74 + 140, 60)
    assert truth[upper] == pytest.approx(100)  # nothing there
    assert found[lower] == pytest.approx(100)
    assert (truth[lower] == found[upper]).all()
    assert truth[lower][0] > truth[lower][2]  # much: warm
    assert has(truth, ZONE)
    assert has(found, ZONE)
    assert not has(image, ZONE)


def test_any_shape_and_any_number_of_rows() -> None:
    rows = [PanelRow(overlay(*shape), "x") for shape in ((50, 900), (900, 50), (9, 9))]
    one = draw_panel([("a", rows[:1])])
    three = draw_panel([("a", rows[:1]), ("b", rows[1:])])
    assert one.dtype == np.uint8
    assert three.shape[0] > 2 * one.shape[0]
    assert three.shape[1] == one.shape[1] == MARGIN + 4 * STEP
