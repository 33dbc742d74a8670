"""Zones: where they lie, and rank correlations that are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from known_places import LUNGS, SEVERITY, SIDE, zoned

from magsd_cli.localization.zones import (
    MEASURED,
    NO_MASK,
    NOT_TWO_LUNGS,
    SAME_SCORES,
    Zones,
    ZoneScores,
    zone_correlation,
    zone_labels,
    zone_means,
    zones_of,
)


def labels() -> np.ndarray:
    found = zone_labels(LUNGS)
    assert found is not None
    return found


def painted(values: tuple[float, ...]) -> np.ndarray:
    """A map that has these values in the zones A to F."""
    return np.array([0, *values], np.float32)[labels()]


def test_each_lung_is_cut_into_three_equal_heights() -> None:
    found = labels()
    # The left of the image first: rows 3 to 20 of it, rows 0 to 23 of the other.
    assert [np.flatnonzero((found == number).any(axis=1)).tolist() for number in range(1, 7)] == [
        list(range(3, 9)), list(range(9, 15)), list(range(15, 21)),
        list(range(8)), list(range(8, 16)), list(range(16, 24)),
    ]  # fmt: skip
    assert ((found > 0) == LUNGS).all()
    assert (np.flatnonzero((found == 1).any(axis=0)) < 12).all()


def test_the_side_does_not_depend_on_which_lung_is_larger() -> None:
    mirrored = zone_labels(LUNGS[:, ::-1])
    assert mirrored is not None
    assert ((mirrored[:, ::-1] + 2) % 6 + 1 == labels())[LUNGS].all()


def test_specks_are_no_lungs() -> None:
    specked = LUNGS.copy()
    specked[0, 11] = True
    found = zone_labels(specked)
    assert found is not None
    assert found[0, 11] == 0
    assert (found == labels()).all()


@pytest.mark.parametrize("columns", [slice(0, 12), slice(0, 0)])
def test_one_lung_or_none_has_no_zones(columns: slice) -> None:
    alone = np.zeros_like(LUNGS)
    alone[:, columns] = LUNGS[:, columns]
    assert zone_labels(alone) is None
    alone[0, 23] = True  # a speck beside it
    assert zone_labels(alone) is None


def test_lungs_of_two_rows_have_no_three_zones() -> None:
    flat = np.zeros_like(LUNGS)
    flat[5:7, 2:9] = flat[5:7, 12:20] = True
    assert zone_labels(flat) is None


def test_the_mean_of_a_map_in_each_zone() -> None:
    np.testing.assert_allclose(zone_means(painted(SEVERITY), labels()), SEVERITY)


def test_rank_correlations_by_construction() -> None:
    zones = Zones(ZoneScores({"": SEVERITY}), labels())
    assert zone_correlation(painted(SEVERITY), zones) == 1
    assert zone_correlation(-painted(SEVERITY), zones) == -1
    assert zone_correlation(painted(tuple(np.exp(SEVERITY))), zones) == 1  # ranks alone count
    assert zone_correlation(np.full((SIDE, SIDE), 0.3, np.float32), zones) == 0
    # Six ranks with the first two swapped: 1 - 6 * 2 / (6 * 35)
    assert zone_correlation(painted((1, 0, 2, 3, 4, 5)), zones) == pytest.approx(1 - 12 / 210)


def test_the_severity_is_the_readers_mean_and_they_agree_or_not() -> None:
    scores = ZoneScores({"senior": (0, 0, 2, 0, 1, 3), "junior": (0, 1, 2, 1, 1, 2)})
    assert scores.severity == (0, 0.5, 2, 0.5, 1, 2.5)
    assert ZoneScores({"a": SEVERITY, "b": SEVERITY[::-1]}).agreement == pytest.approx(-1)
    assert ZoneScores({"a": SEVERITY}).agreement is None
    assert ZoneScores({"a": SEVERITY, "b": (1,) * 6}).agreement is None


def test_what_cannot_be_measured_says_why() -> None:
    scores = ZoneScores({"": SEVERITY})
    assert zones_of(None, LUNGS) == (None, None)
    assert zones_of(scores, None) == (None, NO_MASK)
    assert zones_of(scores, np.ones((9, 9), bool)) == (None, NOT_TWO_LUNGS)
    assert zones_of(ZoneScores({"": (2.0,) * 6}), LUNGS) == (None, SAME_SCORES)
    # Two readers who contradict each other give no order.
    assert zones_of(ZoneScores({"a": SEVERITY, "b": SEVERITY[::-1]}), LUNGS) == (None, SAME_SCORES)
    assert zoned(SEVERITY).zones_status == MEASURED
