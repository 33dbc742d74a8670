"""From a decoded film to the picture that a network sees, cut to its lungs where that is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from magsd_cli.data.clahe import equalise, prepare_pixels, resize
from magsd_cli.errors import ArtifactError
from magsd_cli.lungs.geometry import MARGIN, Frame
from magsd_cli.lungs.network import LungNetwork, open_lung_network, shipped
from magsd_cli.settings import Lungs, Preprocessing

__all__ = [
    "LUNGS_NOT_FOUND",
    "MARGIN",
    "Frame",
    "PreparedFilm",
    "lung_network_of",
    "open_lung_network",
    "prepare_film",
    "shipped",
]

Pixels = npt.NDArray[np.uint8]
LUNGS_NOT_FOUND = "two lungs were not found; the film is used whole"


@dataclass(frozen=True)
class PreparedFilm:
    """`image` uint8 [S,S] and the part of the film that it shows: `frame` in the film's pixels, None for all.

    `warnings`: `LUNGS_NOT_FOUND` where the film was to be cut and is not.
    """

    image: Pixels = field(repr=False)
    frame: Frame | None = None
    warnings: tuple[str, ...] = ()


def prepare_film(film: Pixels, how: Preprocessing) -> PreparedFilm:
    """What a network sees of a film uint8 [H,W], as it was decoded.

    Lungs.crop: the box around both lungs. Lungs.mask: in that box, all that is not lung is black, before and
    after CLAHE, so that no pixel outside counts. A film without two lungs is kept whole. Raises
    `ArtifactError` as `lung_network_of`.
    """
    if how.lungs == Lungs.none:
        return PreparedFilm(prepare_pixels(film, how))
    lungs = lung_network_of(how).find(film)
    if lungs is None:
        return PreparedFilm(prepare_pixels(film, how), None, (LUNGS_NOT_FOUND,))
    part = np.ascontiguousarray(film[lungs.frame.place])
    if how.lungs == Lungs.crop:
        return PreparedFilm(prepare_pixels(part, how), lungs.frame)
    outside = lungs.outside()
    part[outside] = 0
    image = resize(part, how.size)
    black = resize(outside.astype(np.uint8) * 255, how.size) > 127
    image = np.where(black, 0, image).astype(np.uint8)
    if how.clahe:
        image = np.where(black, 0, equalise(image, how.clip_limit, how.tiles)).astype(np.uint8)
    return PreparedFilm(image, lungs.frame)


def lung_network_of(how: Preprocessing) -> LungNetwork:
    """The network that finds the lungs for `how`, which asks for them.

    Raises `ArtifactError` where its file is missing, damaged, or another network's.
    """
    if how.lung_file is None:
        raise ArtifactError(f"the lung network {how.lung_network[:8]} is not there; prepare again")
    network = open_lung_network(how.lung_file)
    if network.sha256 != how.lung_network:
        raise ArtifactError(
            f"{how.lung_file}: holds the lung network {network.sha256[:8]}, the films were cut with "
            f"{how.lung_network[:8]}; bring that one back, or prepare again"
        )
    return network
