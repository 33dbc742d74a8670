"""Images whose right answers are known by construction: spots of attention, boxes, lungs with zones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from magsd_cli.localization.choice import Candidates, PendingImage, pending_image
from magsd_cli.localization.measure import AttendedImage, KnownTruth, finding_of
from magsd_cli.localization.truth import Truth
from magsd_cli.localization.views import View
from magsd_cli.localization.zones import ZoneScores, zones_of

SIDE = 24
SIZE = 8
LUNGS = np.zeros((SIDE, SIDE), bool)
LUNGS[3:21, 2:10] = LUNGS[0:24, 14:22] = True  # the other lung is longer
SEVERITY = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def spot(x: int, y: int) -> np.ndarray:
    maps = np.zeros((SIDE, SIDE), np.float32)
    maps[y : y + SIZE, x : x + SIZE] = 1
    return maps


def boxed(x: int, y: int) -> KnownTruth:
    finding = finding_of(Truth(((float(x), float(y), float(SIZE), float(SIZE)),)), (SIDE, SIDE))
    assert finding is not None
    return KnownTruth(finding)


def zoned(*readers: tuple[float, ...]) -> KnownTruth:
    scores = ZoneScores({str(number): each for number, each in enumerate(readers)})
    zones, status = zones_of(scores, LUNGS)
    return KnownTruth(lungs=LUNGS, zones=zones, zones_status=status)


def attended(
    name: str,
    maps: dict[str, np.ndarray],
    home: int | None = None,
    patient: str = "",
    unseen: bool | None = True,
) -> AttendedImage:
    view = View(Path(name), np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8), (SIDE, SIDE))
    return AttendedImage(view, np.array([0.25, 0.75], np.float32), maps, (0,), unseen, home, patient)


def pending(
    name: str,
    known: KnownTruth,
    maps: dict[str, np.ndarray],
    home: int | None = None,
    patient: str = "",
    unseen: bool | None = True,
    controls: dict[str, dict[str, np.ndarray]] | None = None,
    candidates: Candidates | None = None,
) -> PendingImage:
    one = attended(name, maps, home, patient, unseen)
    return pending_image(one, known, controls or {}, candidates or Candidates())
