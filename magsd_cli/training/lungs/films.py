"""Films and lung masks that a lung network is trained or tested on, read once at its size."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.console import counted, printable, progress, say
from magsd_cli.data.decode import DecodeError, read_bytes, read_image
from magsd_cli.data.folders.tree import list_files
from magsd_cli.data.layouts import read_layout
from magsd_cli.data.layouts.listing import Outlines
from magsd_cli.data.masks import draw_mask
from magsd_cli.data.unicode_forms import same_path
from magsd_cli.errors import NoInputError, UsageError
from magsd_cli.lungs.looks import BYTES, looks_of
from magsd_cli.runtime.worker_pool import Crash, even_chunk, run_isolated

SIZE = 128  # side in pixels of what the network sees
COPIES = 8  # films that differ in at most so many bits of their looks are copies of one picture
ADULT = 18  # years
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ListedFilm:
    """A film that a source lists: its `mask` or None, and what is known of its patient; "" is unknown."""

    path: Path
    mask: Path | Outlines | None
    patient: str
    source: str
    label: str
    people: str  # "children", "adults" or ""


@dataclass(frozen=True)
class Films:
    """Films that could be read: `pixels` uint8 [N,S,S], and `masks` of the same shape with `has_mask` [N].

    `looks` uint8 [N,32]; `digests`: the SHA-256 of each film's file.
    """

    listed: list[ListedFilm] = field(repr=False)
    pixels: Pixels = field(repr=False)
    masks: Pixels = field(repr=False)
    has_mask: npt.NDArray[np.bool_] = field(repr=False)
    looks: Pixels = field(repr=False)
    digests: list[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.listed)


def list_films(sources: Sequence[Path], masks: Sequence[Path] = ()) -> list[ListedFilm]:
    """The films of `sources`, each read by its layout, with lung masks of their own or from `masks`.

    A picture in the folders `masks` is called as its film, without the suffix. Raises `UsageError` where a
    mask fits two films or a film two masks, `NoInputError` for sources without films.
    """
    pictures = _pictures(masks)
    films: list[ListedFilm] = []
    for source in sources:
        listing = read_layout(source)
        own = listing.masks if listing.mask_kind == "lung" else {}
        used = [one for one in listing.records if one.problem is None and one.view != "L"]
        for record in used:
            films.append(
                ListedFilm(
                    record.path,
                    own.get(record.image_id),
                    record.patient_id,
                    record.source or source.absolute().name,
                    record.label or "",
                    people_of(record.age),
                )
            )
    if not films:
        names = ", ".join(str(source) for source in sources)
        raise NoInputError(f"{names}: no films there; name a folder of X-rays")
    return _with_pictures(films, pictures)


def people_of(age: str) -> str:
    """Whether an age, as tables and DICOM write it ("4", "057Y", "008M"), is a child's or an adult's."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([YMWD]?)\s*", age.upper())
    if not found:
        return ""
    return "adults" if found[2] in ("", "Y") and float(found[1]) >= ADULT else "children"


def _pictures(folders: Sequence[Path]) -> dict[str, list[Path]]:
    pictures: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--masks {folder}: is no folder; name the folder of the mask pictures")
        for path in list_files(folder):
            pictures[same_path(path.stem)].append(path)
    return pictures


def _with_pictures(films: list[ListedFilm], pictures: dict[str, list[Path]]) -> list[ListedFilm]:
    stems = Counter(same_path(film.path.stem) for film in films)
    found = []
    for film in films:
        stem = same_path(film.path.stem)
        fitting = [path for path in pictures.get(stem, []) if path != film.path]
        if fitting and (len(fitting) > 1 or stems[stem] > 1):
            raise UsageError(
                f"{fitting[0]}: {printable(stem)} is the name of {stems[stem]} films and {len(fitting)} "
                "masks; a mask must fit one film"
            )
        mask = fitting[0] if fitting else film.mask
        found.append(ListedFilm(film.path, mask, film.patient, film.source, film.label, film.people))
    return found


def read_films(listed: Sequence[ListedFilm], workers: int) -> Films:
    """Decode films and masks in worker processes; what cannot be read is said and left out.

    A film whose mask cannot be read, or is empty, is one without a mask. Raises `NoInputError` where no
    film could be read.
    """
    hands = max(1, min(workers, len(listed)))
    kept: list[tuple[ListedFilm, Pixels, Pixels | None, Pixels, str]] = []
    left: list[str] = []
    done = 0
    with progress("films", len(listed)) as bar:
        for some in run_isolated(_reader, (), listed, _crashed, hands, even_chunk(len(listed), hands, 32)):
            for film, answer in zip(listed[done:], some, strict=False):
                if isinstance(answer, str):
                    left.append(f"{printable(film.path)}: {answer}")
                else:
                    kept.append((film, *answer))
            done += len(some)
            bar.update(len(some))
    if left:
        say(f"lungs: {counted(len(left), 'film')} left out; first: {left[0]}", level="warning")
    if not kept:
        raise NoInputError(f"{listed[0].path.parent}: no film could be read; first: {left[0]}")
    empty = np.zeros((SIZE, SIZE), np.uint8)
    return Films(
        [one[0] for one in kept],
        np.stack([one[1] for one in kept]),
        np.stack([empty if one[2] is None else one[2] for one in kept]),
        np.array([one[2] is not None for one in kept], bool),
        np.stack([one[3] for one in kept]).reshape(-1, BYTES),
        [one[4] for one in kept],
    )


def _reader() -> Callable[[ListedFilm], tuple[Pixels, Pixels | None, Pixels, str] | str]:
    cv2.setNumThreads(1)  # the workers share the cores
    return read_film


def read_film(film: ListedFilm) -> tuple[Pixels, Pixels | None, Pixels, str] | str:
    """Film and mask uint8 [S,S] (the mask None without one), looks and hash; or why it has none."""
    try:
        decoded = read_image(film.path)
    except DecodeError as error:
        return f"{error.code}: {error.reason}"
    small = np.asarray(cv2.resize(decoded.pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)
    mask = None
    if film.mask is not None:
        try:
            mask = draw_mask(film.mask, SIZE)
        except DecodeError as error:
            return f"its mask: {error.code}: {error.reason}"
        mask = mask if mask.any() else None
    return small, mask, looks_of(small), decoded.sha256


def _crashed(_film: ListedFilm, crash: Crash) -> str:
    return crash.reason


def digest_of(films: Films) -> str:
    """SHA-256 over the content of films and masks, in their order: what a network was trained on."""
    digest = sha256()
    for film, content in zip(films.listed, films.digests, strict=True):
        mask = film.mask
        drawn = b"" if mask is None else read_bytes(mask) if isinstance(mask, Path) else repr(mask).encode()
        digest.update(f"{content} {sha256(drawn).hexdigest()}\n".encode())
    return digest.hexdigest()


def groups_of(films: Films) -> list[str]:
    """What must share a fold: the patient of each film, and patients one of whose films is the other's copy.

    A film of an unknown patient is one of its own.
    """
    names = [film.patient or f"\0{place}" for place, film in enumerate(films.listed)]
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    words = films.looks.view(np.uint64)
    for place in range(1, len(films)):
        distances = np.bitwise_count(words[:place] ^ words[place]).sum(axis=1)
        for other in np.flatnonzero(distances <= COPIES):
            one, two = sorted((root(names[place]), root(names[int(other)])))
            parent[two] = one
    return [root(name) for name in names]
