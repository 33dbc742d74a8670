"""Map, box rule and threshold are those of the other folds, and never of the image that is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_places import SIDE, boxed, pending, spot, zoned

from magsd_cli.localization.choice import (
    LEAST,
    NETWORKS,
    THRESHOLDS,
    Candidates,
    Choice,
    PendingImage,
    Threshold,
    box_rules,
    candidate_fits,
    choices,
    default_choice,
)
from magsd_cli.localization.measure import Finding, KnownTruth
from magsd_cli.localization.truth import Truth
from magsd_cli.settings import BoxRule

GIVEN = Candidates()
OPEN = Candidates(("attention", "class"), box_rules(BoxRule.chosen))
PLACE = (4, 4)


def image(home: int | None, best: tuple[int, int, float], candidates: Candidates = GIVEN) -> PendingImage:
    """An image that fits one map, rule and threshold alone."""
    maps = dict.fromkeys(candidates.maps, spot(*PLACE))
    one = pending("x", boxed(*PLACE), maps, home, candidates=candidates)
    fits = np.zeros((len(candidates.maps), len(candidates.rules), len(candidates.thresholds("boxes"))))
    which, rule, threshold = best
    fits[which, rule, candidates.thresholds("boxes").index(threshold)] = 1
    return replace(one, fits={NETWORKS: fits})


def two_folds(each: int, candidates: Candidates = GIVEN) -> dict[Path, PendingImage]:
    """The images of fold 0 want the last map and rule and 0.2, those of fold 1 the first ones and 0.7."""
    last = (len(candidates.maps) - 1, len(candidates.rules) - 1)
    wanted = {0: (*last, 0.2), 1: (0, 0, 0.7)}
    return {
        Path(f"{fold}-{k}"): image(fold, best, candidates)
        for fold, best in wanted.items()
        for k in range(each)
    }


def test_a_fold_is_marked_as_the_others_choose() -> None:
    found = choices(two_folds(LEAST), GIVEN)
    assert found[Path("0-0")].threshold == Threshold(0.7, "chosen", LEAST)
    assert found[Path("1-0")].threshold == Threshold(0.2, "chosen", LEAST)


def test_map_and_rule_too() -> None:
    found = choices(two_folds(LEAST, OPEN), OPEN)
    assert found[Path("0-0")][:2] == ("attention", "largest")
    assert found[Path("1-0")] == Choice("class", "maximum", Threshold(0.2, "chosen", LEAST), LEAST)


def test_no_image_has_a_say_in_its_own_choice() -> None:
    images = two_folds(LEAST, OPEN)
    before = choices(images, OPEN)[Path("0-0")]
    for k in range(LEAST):
        images[Path(f"0-{k}")] = image(0, (1, 0, 0.95), OPEN)
    assert choices(images, OPEN)[Path("0-0")] == before


def test_an_outside_image_has_the_choice_of_the_runs_own() -> None:
    images = two_folds(LEAST)
    images[Path("new")] = image(None, (0, 0, 0.95))
    assert choices(images, GIVEN)[Path("new")].chosen_on == 2 * LEAST
    # and it has no say in theirs
    assert choices(images, GIVEN)[Path("0-0")].chosen_on == LEAST


def test_too_few_to_choose_is_the_default_and_says_so() -> None:
    few = set(choices(two_folds(LEAST - 1, OPEN), OPEN).values())
    assert few == {Choice("attention", "largest", Threshold(0.5, "default"))}
    given = replace(GIVEN, threshold=0.3)
    known = {NETWORKS: np.ones((1, 1, 1))}
    images = {path: replace(one, fits=known) for path, one in two_folds(LEAST).items()}
    assert set(choices(images, given).values()) == {Choice("attention", "largest", Threshold(0.3, "given"))}
    assert default_choice(given).threshold == Threshold(0.3, "given")


def test_kinds_of_truth_choose_apart() -> None:
    images = two_folds(LEAST)
    finding = Finding(np.ones((SIDE, SIDE), bool), Truth(mask=Path("m")), "", "mask")
    images[Path("mask")] = replace(images[Path("0-0")], known=KnownTruth(finding))
    assert choices(images, GIVEN)[Path("mask")].threshold.source == "default"


def test_the_fit_peaks_where_the_region_fits() -> None:
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[None].repeat(SIDE, 0)
    known = boxed(0, 0)
    assert known.finding is not None
    truth = Truth(((SIDE * 0.75, 0.0, SIDE * 0.25, float(SIDE)),))
    known = KnownTruth(replace(known.finding, truth=truth))
    fits = candidate_fits({"attention": ramp}, known, GIVEN)
    assert fits.shape == (1, 1, len(THRESHOLDS))
    assert THRESHOLDS[int(fits[0, 0].argmax())] == pytest.approx(0.75, abs=0.05)


def test_the_part_with_the_maximum_fits_where_the_largest_does_not() -> None:
    maps = np.maximum(0.8 * spot(0, 0), spot(14, 14))
    maps[0:12, 0:8] = 0.8  # larger, and weaker
    fits = candidate_fits({"attention": maps, "class": maps}, boxed(14, 14), OPEN)
    middle = THRESHOLDS.index(0.5)
    assert fits[0, :, middle].tolist() == [0, 1]
    assert (fits[0] == fits[1]).all()


def test_zones_choose_the_map_by_their_order_and_no_threshold() -> None:
    severity = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    known = zoned(severity)
    assert known.zones is not None
    right = np.array([0, *severity], np.float32)[known.zones.labels]
    candidates = Candidates(("attention", "class"))
    images = {
        Path(f"{fold}-{k}"): pending(
            "x", known, {"attention": -right, "class": right}, fold, candidates=candidates
        )
        for fold in (0, 1)
        for k in range(LEAST)
    }
    assert images[Path("0-0")].fits[NETWORKS].ravel().tolist() == pytest.approx([-1, 1])
    assert choices(images, candidates)[Path("0-0")] == Choice(
        "class", "largest", Threshold(0.5, "default"), LEAST
    )
