"""Pictures to localize on: each file prepared for the network, and as it is, for the eye."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode import DecodeError, read_image
from magsd_cli.data.film import Frame, prepare_film
from magsd_cli.inference.scoring import CRASH_CODES
from magsd_cli.runtime.worker_pool import Crash, even_chunk, run_isolated
from magsd_cli.settings import Preprocessing

SHOWN_SIDE = 1120  # of the copy for the eye: twice an overlay's panel, and memory stays flat


@dataclass(frozen=True)
class View:
    """A file: `image` uint8 [S,S] for the network, `shown` uint8 [h,w] for the eye, `shape` (H, W) of it.

    `frame`: the part of the film that `image` shows, in its pixels; None for all of it.
    """

    path: Path
    image: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    shown: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    shape: tuple[int, int] = (0, 0)
    sha256: str = ""
    error_code: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()
    frame: Frame | None = None


def view_files(
    files: Sequence[Path], preprocessing: Preprocessing, workers: int, chunk: int = 8
) -> Iterator[list[View]]:
    """Decode `files` in worker processes; yield their views in order, `chunk` at a time."""
    chunk = even_chunk(len(files), workers, chunk)
    yield from run_isolated(_viewer, (preprocessing,), files, _crashed, workers, chunk)


def _viewer(preprocessing: Preprocessing) -> Callable[[Path], View]:
    cv2.setNumThreads(1)  # the workers share the cores
    return lambda path: _view(path, preprocessing)


def _view(path: Path, preprocessing: Preprocessing) -> View:
    try:
        decoded = read_image(path)
    except DecodeError as error:
        return View(path, sha256=error.sha256, error_code=error.code, error=error.reason)
    pixels = decoded.pixels
    prepared = prepare_film(pixels, preprocessing)
    scale = min(1.0, SHOWN_SIDE / max(pixels.shape))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return View(
        path,
        prepared.image,
        np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8) if scale < 1 else pixels,
        (pixels.shape[0], pixels.shape[1]),
        decoded.sha256,
        warnings=(*decoded.warnings, *prepared.warnings),
        frame=prepared.frame,
    )


def _crashed(path: Path, crash: Crash) -> View:
    return View(path, error_code=CRASH_CODES.get(crash.code, crash.code), error=crash.reason)
