"""Files become scores: every file gets exactly one answer, in the order of the files.

Worker processes decode ahead of the network; what they hand over is small (the prepared picture), so memory
stays flat however long the list is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.console import counted
from magsd_cli.data.identity import Identity
from magsd_cli.data.ingest import Ingested, IngestTask, ingest
from magsd_cli.inference.out_of_distribution import TrainingDistribution, appearance_features, distance
from magsd_cli.runtime.worker_pool import Crash, cores, even_chunk, hands_for, plain, run_isolated
from magsd_cli.settings import Preprocessing

#: uint8 [N,1,S,S] -> the probabilities of each network [N,M,K]
Score = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]
CHUNK = 8
CRASH_CODES = {"crashed": "decoder_crashed", "timeout": "decoder_timeout"}


@dataclass(frozen=True)
class FileAnswer:
    """The answer for one file: `members`, the probabilities of each network [M,K], or None with a reason.

    `distance`: how far the picture is from the training images; None where that is not known.
    `identity`: patient and study as in its header, to be hashed before they are written; None where the
    file took its worker with it.
    """

    path: Path
    sha256: str = ""
    members: npt.NDArray[np.floating] | None = None
    error_code: str = ""
    error: str = ""
    warnings: tuple[str, ...] = field(default=())
    distance: float | None = None
    identity: Identity | None = field(default=None, repr=False)


def score_files(
    files: Iterable[Path],
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
    files: Iterable[Path], preprocessing: Preprocessing, workers: int, chunk: int = CHUNK
) -> Generator[tuple[list[Path], list[Ingested]], None, None]:
    """Decode and prepare `files` in worker processes; yield (files, pictures) in order, `chunk` at a time."""
    under_way: deque[Path] = deque()

    def tasks() -> Iterator[IngestTask]:
        for task in tasks_for(files, preprocessing):
            under_way.append(task.path)
            yield task

    together = chunk_of(files, workers, chunk)
    for pictures in run_isolated(plain, (ingest,), tasks(), _crashed, workers, together):
        yield [under_way.popleft() for _ in pictures], pictures


def one_by_one(
    infer: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]],
    appearance: TrainingDistribution | None,
) -> Callable[[IngestTask], FileAnswer]:
    """Return a worker's function: decode a file and `infer` (uint8 [1,1,S,S] -> each network's [M,K])."""

    def score(task: IngestTask) -> FileAnswer:
        picture = ingest(task)
        if picture.image is None:
            return answer_to(task.path, picture, None)
        return answer_to(task.path, picture, infer(picture.image[None, None]), appearance)

    return score


def tasks_for(
    files: Iterable[Path], preprocessing: Preprocessing, identity: bool = True
) -> Iterator[IngestTask]:
    """Give the task of each of `files`. `identity`: whether the answers tell patient and study."""
    return (IngestTask(path, preprocessing, fingerprints=False, identity=identity) for path in files)


def count_of(files: Iterable[Path]) -> int | None:
    """The number of files where it is known."""
    return len(files) if isinstance(files, Sized) else None


def processes_for(files: Iterable[Path], workers: int | None) -> int:
    """The number of processes for `files`: `workers` (None: one a core), but no more than files."""
    return hands_for(len(files), workers) if isinstance(files, Sized) else workers or cores()


def chunk_of(files: Iterable[Path], workers: int, most: int) -> int:
    """Return how many of `files` travel together; see `even_chunk`."""
    return even_chunk(len(files), workers, most) if isinstance(files, Sized) else most


def files_in_words(files: Iterable[Path]) -> str:
    """The number of files in words, where it is known."""
    return counted(len(files), "file") if isinstance(files, Sized) else "files as they are found"


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
        path,
        picture.sha256,
        members,
        picture.error_code,
        picture.error,
        tuple(picture.warnings),
        far,
        picture.identity,
    )
