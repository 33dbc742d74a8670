"""`magsd lungs train`: from films and masks to a lung network in one file, with what it is worth."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli import __version__
from magsd_cli.artifacts.files import lock, write_bytes, write_hashed
from magsd_cli.console import counted, progress, say
from magsd_cli.errors import DeviceError, DivergedError, UsageError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.lungs.card import card_text, figure_words
from magsd_cli.lungs.network import (
    ALL,
    EVERYWHERE,
    FOLDS,
    LOOKS,
    SUFFIX,
    WEIGHTS,
    LungNetwork,
    member_of,
    pack,
    unpack,
)
from magsd_cli.models.lung_unet import WIDTHS
from magsd_cli.runtime.worker_pool import Crash, Limits, cores, run_isolated
from magsd_cli.training.folds import make_folds
from magsd_cli.training.lungs.films import SIZE, Films, digest_of, groups_of, list_films, read_films
from magsd_cli.training.lungs.fit import BATCH, fit_lungs
from magsd_cli.training.lungs.measure import Figure, measure_lungs
from magsd_cli.training.lungs.onnx_form import to_onnx

LEAST_FILMS = 8
DAY = 86_400.0


@dataclass(frozen=True)
class LungOptions:
    """The options of lung training: films, the folders of their masks, the file to write, and how it is
    trained.

    `tests`: films with masks of their own that are measured and never trained on. `credit`: who made films
    and masks, and their licences, for the card.
    """

    sources: Sequence[Path]
    masks: Sequence[Path]
    out: Path
    tests: Sequence[Path] = ()
    credit: str = ""
    folds: int = 2
    steps: int = 200
    seed: int = 0
    workers: int | None = None
    overwrite: bool = False


def train_lungs(options: LungOptions) -> Path:
    """Train a lung network, measure it on patients that it never saw, and write it with its card.

    Networks that are finished are kept beside the file until it is written: run again, it goes on with the
    others. Raises `UsageError` for options that cannot be, `NoInputError` without films, and the contract's
    others.
    """
    out = options.out
    if out.suffix != SUFFIX:
        raise UsageError(
            f"--out {out}: lung networks end in {SUFFIX}; name it {out.with_suffix(SUFFIX).name}"
        )
    if out.exists() and not options.overwrite:
        raise UsageError(f"{out}: exists already; add --overwrite to replace it")
    hands = options.workers or cores()
    with lock(out.with_name(f".{out.name}.lock")):
        films = read_films(list_films(options.sources, options.masks), hands)
        folds = _folds(films, options)
        digest = digest_of(films)
        weights = _trained(films, folds, options, digest, hands)
        network = _network(films, folds, weights, _card(films, folds, options, digest))
        figures = measure_lungs(network, films, "out of fold", folds)
        for source in options.tests:
            figures += measure_lungs(network, read_films(list_films([source]), hands), "never trained on")
        network = _network(films, folds, weights, _card(films, folds, options, digest, figures))
        write_hashed(out, network.data)
        write_bytes(out.with_suffix(".card.md"), card_text(network.card, network.sha256).encode())
        shutil.rmtree(_work_folder(out), ignore_errors=True)
    for figure in figures:
        say(f"lungs: {figure_words(figure.values())}")
    return out


def _folds(films: Films, options: LungOptions) -> npt.NDArray[np.int8]:
    """The fold of each film's patient; -2 for a film without a mask of a patient who has none with one."""
    masked = np.flatnonzero(films.has_mask)
    if len(masked) < LEAST_FILMS:
        names = ", ".join(str(source) for source in options.sources)
        raise UsageError(
            f"{names}: {len(masked)} films have a lung mask; {LEAST_FILMS} and more are needed, "
            "name the folder of the masks with --masks"
        )
    groups = groups_of(films)
    sources = np.unique([film.source for film in films.listed], return_inverse=True)[1]
    drawn = make_folds(sources[masked], [groups[i] for i in masked], options.folds, options.seed)
    of_group = {groups[i]: int(fold) for i, fold in zip(masked, drawn, strict=True)}
    if not any(film.patient for film in films.listed):
        say("lungs: patients are unknown, so each film counts as one of its own", level="warning")
    return np.array([of_group.get(group, -2) for group in groups], np.int8)


def _trained(
    films: Films, folds: npt.NDArray[np.int8], options: LungOptions, digest: str, hands: int
) -> dict[int, bytes]:
    """The weights of the networks of all folds and of all films, those that a stopped run left among them."""
    work = _work_folder(options.out)
    request = [__version__, digest, options.folds, options.steps, options.seed, folds.tolist()]
    key = sha256_bytes(json.dumps(request).encode())[:16]
    places = {n: work / f"{key}-{member_of(n)}.safetensors" for n in (*range(options.folds), EVERYWHERE)}
    found = {n: path.read_bytes() for n, path in places.items() if path.is_file()}
    missing = [n for n in places if n not in found]
    masked = films.has_mask
    say(
        f"lungs: {int(masked.sum())} films with masks, {counted(len(missing), 'network')} of "
        f"{options.steps} steps of {BATCH} films to train"
    )
    arguments = (films.pixels[masked], films.masks[masked], folds[masked], options.seed, options.steps)
    with progress("networks", len(places)) as bar:
        bar.update(len(found))
        tasks: Iterator[list[bytes | Crash]] = run_isolated(
            _trainer, arguments, missing, _crashed, min(hands, max(1, len(missing))), 1, Limits(7 * DAY)
        )
        for number, (weights,) in zip(missing, tasks, strict=True):
            if isinstance(weights, Crash):
                if weights.cause == DivergedError.__name__:
                    raise DivergedError("lungs train: the loss is not finite; check the masks")
                raise DeviceError(f"lungs train: {weights.reason}; run it again, with fewer --workers")
            write_bytes(places[number], weights)
            found[number] = weights
            bar.update(1)
            say(f"lungs: {len(found)} of {counted(len(places), 'network')} trained")
    return {n: found[n] for n in places}


def _trainer(
    films: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    folds: npt.NDArray[np.int8],
    seed: int,
    steps: int,
) -> Callable[[int], bytes | Crash]:
    return partial(_train_one, films, masks, folds, seed, steps)


def _train_one(
    films: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    folds: npt.NDArray[np.int8],
    seed: int,
    steps: int,
    number: int,
) -> bytes:
    seen = folds != number
    return fit_lungs(films[seen], masks[seen], seed, number, steps)


def _crashed(_number: int, crash: Crash) -> Crash:
    return crash


def _network(
    films: Films, folds: npt.NDArray[np.int8], weights: Mapping[int, bytes], card: Mapping[str, Any]
) -> LungNetwork:
    """The file's content: networks, weights of the one of all films, and the films that it knows."""
    known = folds >= 0
    members = {member_of(number): to_onnx(some, SIZE) for number, some in sorted(weights.items())}
    members = {ALL: members.pop(ALL), WEIGHTS: weights[EVERYWHERE], **members}
    members |= {LOOKS: _npy(films.looks[known]), FOLDS: _npy(folds[known])}
    return unpack(pack(card, members), str(card["name"]))


def _npy(values: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _card(
    films: Films,
    folds: npt.NDArray[np.int8],
    options: LungOptions,
    digest: str,
    figures: Sequence[Figure] = (),
) -> dict[str, Any]:
    return {
        "name": options.out.stem,
        "version": __version__,
        "size": SIZE,
        "widths": list(WIDTHS),
        "folds": options.folds,
        "steps": options.steps,
        "batch_size": BATCH,
        "seed": options.seed,
        "credit": options.credit,
        "sources": _sources(films),
        "films_sha256": digest,
        "known_films": int((folds >= 0).sum()),
        "figures": [figure.values() for figure in figures],
    }


def _sources(films: Films) -> list[dict[str, Any]]:
    found = []
    for name in sorted({film.source for film in films.listed}):
        own = [i for i, film in enumerate(films.listed) if film.source == name and films.has_mask[i]]
        patients = {films.listed[i].patient or f"\0{i}" for i in own}
        found.append({"source": name, "films_with_mask": len(own), "patients": len(patients)})
    return found


def _work_folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.work")
