"""From files to scores: every file gets exactly one answer, in the order of the files.

Worker processes decode ahead of the network; what they hand over is small (the prepared picture), so memory
stays flat however long the list is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.data.ingest import Ingested, Order, ingest
from magsd_cli.inference.out_of_distribution import Appearance, appearance_features, unlikeness
from magsd_cli.runtime.worker_pool import Crash, even_chunk, plain, run_isolated
from magsd_cli.settings import Preprocessing

#: uint8 [N,1,S,S] -> the probabilities of each network [N,M,K]
Score = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]


CHUNK = 8


CRASH_CODES = {"crashed": "decoder_crashed", "timeout": "decoder_timeout"}


@dataclass(frozen=True)
class Scored:
    """The answer for one file: `members`, the probabilities of each network [M,K], or None with a reason.

    `unlikeness`: how far the picture is from the training images; None where that is not known.
    """

    path: Path
    sha256: str = ""
    members: npt.NDArray[np.floating] | None = None
    error_code: str = ""
    error: str = ""
    warnings: tuple[str, ...] = field(default=())
    unlikeness: float | None = None


def score_files(
    files: Sequence[Path],
    preprocessing: Preprocessing,
    score: Score,
    workers: int,
    batch_size: int,
    appearance: Appearance | None = None,
) -> Generator[list[Scored], None, None]:
    """Decode and prepare `files` in worker processes, score them here with `score`; answers in order."""
    for files_read, pictures in prepare_files(files, preprocessing, workers, max(CHUNK, batch_size)):
        yield score_pictures(files_read, pictures, score, appearance)


def score_pictures(
    files: Sequence[Path], pictures: Sequence[Ingested], score: Score, appearance: Appearance | None
) -> list[Scored]:
    """The answers for `files`, whose `pictures` are read: those that can be used are scored as one array."""
    usable = [picture.image for picture in pictures if picture.image is not None]
    scores = iter(score(np.stack(usable)[:, None]) if usable else ())
    return [
        answer_to(path, picture, None if picture.image is None else next(scores), appearance)
        for path, picture in zip(files, pictures, strict=True)
    ]


def prepare_files(
    files: Sequence[Path], preprocessing: Preprocessing, workers: int, chunk: int = CHUNK
) -> Generator[tuple[list[Path], list[Ingested]], None, None]:
    """Decode and prepare `files` in worker processes; yield (files, pictures) in order, `chunk` at a time."""
    orders = orders_for(files, preprocessing)
    chunk = even_chunk(len(orders), workers, chunk)
    done = 0
    for pictures in run_isolated(plain, (ingest,), orders, _crashed, workers, chunk):
        yield list(files[done : done + len(pictures)]), pictures
        done += len(pictures)


def orders_for(files: Sequence[Path], preprocessing: Preprocessing) -> list[Order]:
    """What to do with each of `files`."""
    return [Order(path, preprocessing) for path in files]


def _crashed(_order: Order, crash: Crash) -> Ingested:
    return Ingested(error_code=CRASH_CODES.get(crash.code, crash.code), error=crash.reason)


def crashed_answer(order: Order, crash: Crash) -> Scored:
    """The answer for a file that took its worker with it."""
    return answer_to(order.path, _crashed(order, crash), None)


def answer_to(
    path: Path,
    picture: Ingested,
    members: npt.NDArray[np.floating] | None,
    appearance: Appearance | None = None,
) -> Scored:
    """The answer for one file from what came of reading it and, if that went well, each network's [M,K]."""
    far = None
    if appearance is not None and picture.image is not None:
        far = float(unlikeness(appearance, appearance_features(picture.image[None, None]))[0])
    return Scored(
        path, picture.sha256, members, picture.error_code, picture.error, tuple(picture.warnings), far
    )
