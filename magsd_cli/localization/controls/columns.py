"""The columns of every control, for each image that counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from magsd_cli.data.film import Frame
from magsd_cli.localization.choice import BRIGHTNESS, NETWORKS, Candidates, Choice, PendingImage, choices
from magsd_cli.localization.controls.constant import (
    constant_box_fit,
    constant_boxes,
    usual_order,
    whole_film,
)
from magsd_cli.localization.measure import KnownTruth, Maps, measure
from magsd_cli.localization.regions import find_region, share_inside
from magsd_cli.localization.views import View
from magsd_cli.localization.zones import zone_correlation

OTHERS = 20  # images whose maps make an image's shuffled control
SHUFFLED, CONSTANT, WHOLE = "control", "constant", "whole"  # and what their columns begin with


def control_columns(
    pending: Mapping[Path, PendingImage], candidates: Candidates, chosen: Mapping[Path, Choice]
) -> dict[Path, dict[str, float]]:
    """The columns ``<control>_<measure>`` of each image that no asked network was trained on.

    chosen: how the networks' maps are marked, other patients' maps too. For a control that has maps of its
    own the choice is made in the same way.
    """
    counted = {path: one for path, one in pending.items() if one.attended.unseen is not False}
    found: dict[Path, dict[str, float]] = {path: {} for path in counted}
    sources = {source for one in pending.values() for source in one.maps} - {NETWORKS}
    for source in sorted(sources):
        theirs = choices(pending, candidates, source)
        for path, one in counted.items():
            frame = None if source == BRIGHTNESS else one.attended.view.frame
            found[path] |= _named(source, _fits(one.maps[source], theirs[path], one.known, frame))
    for path, columns in _shuffled(counted, chosen).items():
        found[path] |= columns
    boxes, orders = constant_boxes(counted), usual_order(counted)
    for path, one in counted.items():
        if one.known.finding is not None:
            found[path] |= _named(WHOLE, whole_film(one.known.finding))
            if path in boxes:
                found[path] |= _named(CONSTANT, constant_box_fit(boxes[path], one.known.finding))
        if path in orders:
            found[path] |= _named(CONSTANT, {"zones": orders[path]})
    return found


def _shuffled(
    counted: Mapping[Path, PendingImage], chosen: Mapping[Path, Choice]
) -> dict[Path, dict[str, float]]:
    """What the networks' maps of other patients' images with the same kind of truth reach, in the mean."""
    found = {}
    rng = np.random.default_rng(0)
    for path, one in counted.items():
        parts: dict[str, list[float]] = {}
        for part in _parts(one.known):
            group = [p for p, other in counted.items() if _like(part, other.known)]
            for other in _others(path, group, counted, rng):
                theirs = counted[other]
                frame = _frame_on(theirs.attended.view, one.attended.view.shape)
                fits = _fits(theirs.maps[NETWORKS], chosen[path], part, frame)
                for name, value in fits.items():
                    parts.setdefault(name, []).append(value)
        found[path] = _named(SHUFFLED, {name: float(np.mean(values)) for name, values in parts.items()})
    return found


def _parts(known: KnownTruth) -> list[KnownTruth]:
    """What is known of an image, one by one."""
    parts = [KnownTruth(finding=known.finding)] if known.finding is not None else []
    parts += [KnownTruth(lungs=known.lungs)] if known.lungs is not None else []
    return parts + ([KnownTruth(zones=known.zones)] if known.zones is not None else [])


def _like(part: KnownTruth, other: KnownTruth) -> bool:
    """Whether of another image the same is known."""
    if part.finding is not None:
        return other.finding is not None and other.kind == part.kind
    return (other.lungs if part.lungs is not None else other.zones) is not None


def _frame_on(view: View, shape: tuple[int, int]) -> Frame | None:
    """The part of another image that its network saw, as if it were of a film of `shape` (H, W)."""
    return None if view.frame is None else view.frame.on(view.shape, shape)


def _fits(maps: Maps, choice: Choice, known: KnownTruth, frame: Frame | None) -> dict[str, float]:
    """How well maps of the part `frame`, marked as chosen, fit all that is known of an image."""
    values = maps[choice.map]
    fits: dict[str, float] = {}
    if known.finding is not None:
        shape = (known.finding.mask.shape[0], known.finding.mask.shape[1])
        fits |= measure(find_region(values, shape, choice.threshold.value, choice.rule), known.finding)
    if known.lungs is not None:
        fits["lungs"] = share_inside(values, known.lungs, frame)
    if known.zones is not None:
        fits["zones"] = zone_correlation(values, known.zones)
    return fits


def _named(control: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{control}_{name}": value for name, value in values.items()}


def _others(
    path: Path, group: Sequence[Path], pending: Mapping[Path, PendingImage], rng: np.random.Generator
) -> list[Path]:
    """All images of `group` of other patients, or `OTHERS` of them by lot."""
    patient = pending[path].attended.patient
    others = [p for p in group if p != path and not (patient and pending[p].attended.patient == patient)]
    if len(others) <= OTHERS:
        return others
    return [others[i] for i in rng.choice(len(others), OTHERS, replace=False)]
