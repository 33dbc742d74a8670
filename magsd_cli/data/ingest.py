"""One file to one cached image and its row: what runs in a worker process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.clahe import prepare_pixels, resize
from magsd_cli.data.decode import DecodeError, Header, read_image
from magsd_cli.data.film import Frame, PreparedFilm, prepare_film
from magsd_cli.data.identity import Identity, identity_of
from magsd_cli.settings import Lungs, Preprocessing

HASH_SIDE = 16


@dataclass(frozen=True)
class IngestTask:
    """The work for one file: how to resize and equalise it, and whether a lateral view is allowed.

    `fingerprints`: whether the picture and its looks are hashed, by which `prepare` finds duplicates.
    `identity`: whether patient and study are told of a file that is refused too.
    """

    path: Path
    preprocessing: Preprocessing
    lateral: bool = False
    fingerprints: bool = True
    identity: bool = False


@dataclass(frozen=True)
class Ingested:
    """The result for a file: `image` uint8 [S,S], or None with a code and a reason.

    `frame`: the part of the film that `image` shows, in the film's pixels; None for all of it.
    """

    image: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    sha256: str = ""
    pixels_sha256: str = ""
    perceptual_hash: str = ""
    error_code: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()
    width: int = 0
    height: int = 0
    frame: Frame | None = None
    meta: Header = field(default_factory=Header)
    ids_are_hashed: bool = False  #: the ids in `meta` are keyed hashes already
    identity: Identity | None = field(default=None, repr=False)  #: None where it was not asked for


def ingest(task: IngestTask) -> Ingested:
    """Read, decode, resize and equalise one file. Every failure becomes a code; nothing is raised."""
    cv2.setNumThreads(1)  # the workers share the cores
    try:
        decoded = read_image(task.path, lateral=task.lateral)
    except DecodeError as error:
        identity = identity_of(error.content) if task.identity else None
        return Ingested(sha256=error.sha256, error_code=error.code, error=error.reason, identity=identity)
    except MemoryError:
        return Ingested(error_code="too_large", error="not enough memory to decode it")
    height, width = decoded.pixels.shape
    how = task.preprocessing
    # Looks are hashed of the whole film, also where it is cut.
    whole = how.lungs == Lungs.none
    resized = resize(decoded.pixels, how.size) if whole or task.fingerprints else decoded.pixels
    film = PreparedFilm(prepare_pixels(resized, how)) if whole else prepare_film(decoded.pixels, how)
    return Ingested(
        image=film.image,
        sha256=decoded.sha256,
        pixels_sha256=_pixels_hash(decoded.pixels.shape, resized) if task.fingerprints else "",
        perceptual_hash=perceptual_hash(resized) if task.fingerprints else "",
        warnings=(*decoded.warnings, *film.warnings),
        width=width,
        height=height,
        frame=film.frame,
        meta=decoded.meta,
        identity=Identity(decoded.meta.patient_id, decoded.meta.exam_id) if task.identity else None,
    )


def _pixels_hash(shape: tuple[int, ...], resized: npt.NDArray[np.uint8]) -> str:
    """SHA-256 of a picture whatever its file: the same pixels as PNG and as TIFF are the same.

    The shape as decoded and the resized pixels are hashed: equal pictures have equal ones, different pictures
    do not, and it takes a twentieth of the time that a megapixel takes.
    """
    digest = hashlib.sha256(f"{shape}".encode())
    digest.update(np.ascontiguousarray(resized).data)
    return digest.hexdigest()


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> str:
    """Hash of what uint8 [H,W] looks like, 64 hex digits: pictures that look alike differ in few bits.

    The bits are those of imagehash.phash(hash_size=16), in half its time: which of the 16 x 16 lowest
    frequencies of the cosine transform are above their median.
    """
    from scipy.fftpack import dct

    side = 4 * HASH_SIDE
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    lowest = dct(dct(small, axis=0)[:HASH_SIDE], axis=1)[:, :HASH_SIDE].ravel()
    half = len(lowest) // 2
    middle = np.partition(lowest, (half - 1, half))[half - 1 : half + 1]
    return np.packbits(lowest > middle.sum() / 2).tobytes().hex()
