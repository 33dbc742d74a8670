"""Files become scores: every file gets exactly one answer, in the order of the files.

Worker processes decode ahead of the network; what they hand over is small (the prepared picture), so memory
stays flat however long the list is.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.data.ingest import Ingested, IngestTask, ingest
from magsd_cli.inference.out_of_distribution import TrainingDistribution, appearance_features, distance
from magsd_cli.runtime.worker_pool import Crash, even_chunk, plain, run_isolated
from magsd_cli.settings import Preprocessing

#: uint8 [N,1,S,S] -> the probabilities of each network [N,M,K]
Score = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]
CHUNK = 8
CRASH_CODES = {"crashed": "decoder_crashed", "timeout": "decoder_timeout"}


@dataclass(frozen=True)
class FileAnswer:
    """The answer for one file: `members`, the probabilities of each network [M,K], or None with a reason.

    `distance`: how far the picture is from the training images; None where that is not known.
    """

    path: Path
    sha256: str = ""
    members: npt.NDArray[np.floating] | None = None
    error_code: str = ""
    error: str = ""
    warnings: tuple[str, ...] = field(default=())
    distance: float | None = None


def score_files(
    files: Sequence[Path],
    preprocessing: Preprocessing,
    score: Score,
    workers: int,
    batch_size: int,
    appearance: TrainingDistribution | None = None,
) -> Generator[list[FileAnswer], None, None]:
    """Decode and prepare `files` in worker processes, score them here with `score`; answers in order."""
    for files_read, pictures in prepare_files(files, preprocessing, workers, max(CHUNK, batch_size)):
        yield score_pictures(files_read, pictures, score, appearance)


def score_pictures(
    files: Sequence[Path], pictures: Sequence[Ingested], score: Score, appearance: TrainingDistribution | None
) -> list[FileAnswer]:
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
    tasks = tasks_for(files, preprocessing)
    chunk = even_chunk(len(tasks), workers, chunk)
    done = 0
    for pictures in run_isolated(plain, (ingest,), tasks, _crashed, workers, chunk):
        yield list(files[done : done + len(pictures)]), pictures
        done += len(pictures)


def tasks_for(files: Sequence[Path], preprocessing: Preprocessing) -> list[IngestTask]:
    """Return the task of each of `files`."""
    return [IngestTask(path, preprocessing, fingerprints=False) for path in files]


def _crashed(_task: IngestTask, crash: Crash) -> Ingested:
    return Ingested(error_code=CRASH_CODES.get(crash.code, crash.code), error=crash.reason)


def crashed_answer(task: IngestTask, crash: Crash) -> FileAnswer:
    """The answer for a file that took its worker with it."""
    return answer_to(task.path, _crashed(task, crash), None)


def answer_to(
    path: Path,
    picture: Ingested,
    members: npt.NDArray[np.floating] | None,
    appearance: TrainingDistribution | None = None,
) -> FileAnswer:
    """The answer for one file from the result of reading it and, if that went well, each network's [M,K]."""
    far = None
    if appearance is not None and picture.image is not None:
        far = float(distance(appearance, appearance_features(picture.image[None, None]))[0])
    return FileAnswer(
        path, picture.sha256, members, picture.error_code, picture.error, tuple(picture.warnings), far
    )
