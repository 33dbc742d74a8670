"""`magsd lungs check` and `find`: how a lung network does on films, in figures and on a panel; its masks."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from magsd_cli.artifacts.files import write_bytes
from magsd_cli.console import printable, say
from magsd_cli.data.decode import DecodeError, read_image
from magsd_cli.errors import NoInputError, UsageError
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.lungs.card import figure_words
from magsd_cli.lungs.geometry import two_lungs
from magsd_cli.lungs.network import LungNetwork, open_lung_network, shipped
from magsd_cli.render.lung_panel import TILE, LungTile, draw_lung_panel
from magsd_cli.runtime.worker_pool import Crash, cores, hands_for, run_isolated
from magsd_cli.training.lungs.films import Films, list_films, read_films
from magsd_cli.training.lungs.measure import measure_lungs

QUALITY = 88  # of the panel's JPEG
COLUMNS = ("path", "source", "label", "patient_id", "two_lungs", "x", "y", "width", "height")


def check_lungs(
    images: Sequence[Path],
    masks: Sequence[Path],
    out: Path,
    network: Path | None = None,
    shown: int = 30,
    workers: int | None = None,
) -> Path:
    """Find the lungs on all films; leave ``films.csv`` and ``panel.jpg`` in `out`; return the panel's path.

    Films that the network was trained on are given to the fold network that never saw their patient.
    ``films.csv`` has the box around the lungs as shares of the film. The panel has `shown` films, of those
    without masks where there are any, drawn from all sources and classes alike. Raises `NoInputError` where
    no film can be read.
    """
    lungs = open_lung_network(network or shipped())
    films = read_films(list_films(images, masks), workers or cores())
    folds = np.array([lungs.fold_of(film) for film in films.pixels])
    known = int((folds >= 0).sum())
    if known:
        say(
            f"lungs: {known} films are of its training; each is given to a network that never saw its patient"
        )
    for figure in measure_lungs(lungs, films, lungs.name, folds):
        say(f"lungs: {figure_words(figure.values())}")
    write_bytes(out / "films.csv", _table(lungs, films).encode("utf-8", "surrogateescape"))
    panel = draw_lung_panel([_tile(lungs, films, place) for place in _chosen(films, shown)])
    done, data = cv2.imencode(".jpg", panel, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    write_bytes(out / "panel.jpg", data.tobytes())
    return out / "panel.jpg"


def find_lungs(
    images: Sequence[Path], out: Path, network: Path | None = None, workers: int | None = None
) -> int:
    """Write a mask for each film with two lungs: ``out/<stem>.png``, uint8 of the film's shape, 255 is lung.

    Films are decoded by `workers` processes (None: one a core); one that crashes its decoder costs itself
    alone. The exit code: 0, or 3 where a film has none. Raises `UsageError` for two films of one name, which
    could not be told apart, `NoInputError` where an input is missing or nothing was found.
    """
    missing = next((path for path in images if not path.exists()), None)
    if missing is not None:
        raise NoInputError(f"{missing}: not found; name films or folders of films")
    place = network or shipped()
    open_lung_network(place)  # refused here, before a process is started
    files = list_inputs(images, [out])
    stems = Counter(path.stem for path in files)
    twice = next((path for path in files if stems[path.stem] > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: another film has its name too; find the lungs of each folder by itself")
    written = 0
    tasks = run_isolated(_finder, (place,), files, _not_read, hands_for(len(files), workers), chunk=1)
    for path, (found,) in zip(files, tasks, strict=True):
        if isinstance(found, str):
            say(f"lungs: {printable(path)}: {found}", level="warning")
            continue
        write_bytes(out / f"{path.stem}.png", found)
        written += 1
    say(f"lungs: {written} masks of {len(files)} films in {out}")
    if not written:
        raise NoInputError(f"{', '.join(map(str, images))}: no film with two lungs; see the lines above")
    return 0 if written == len(files) else 3


def _finder(network: Path) -> Callable[[Path], bytes | str]:
    return partial(_mask_of, open_lung_network(network))


def _mask_of(network: LungNetwork, path: Path) -> bytes | str:
    """Return the film's mask as PNG, or the reason why there is none."""
    try:
        found = network.find(read_image(path).pixels)
    except DecodeError as error:
        return f"{error.code}: {error.reason}"
    if found is None:
        return "two lungs were not found"
    done, data = cv2.imencode(".png", found.on_film().astype(np.uint8) * 255)
    assert done
    return data.tobytes()


def _not_read(_path: Path, crash: Crash) -> bytes | str:
    return f"{crash.code}: {crash.reason}"


def _table(network: LungNetwork, films: Films) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for film, pixels in zip(films.listed, films.pixels, strict=True):
        found = network.find(pixels)
        side = network.size
        box = ["", "", "", ""] if found is None else [f"{value / side:.4f}" for value in found.frame]
        writer.writerow([film.path, film.source, film.label, film.patient, found is not None, *box])
    return text.getvalue()


def _chosen(films: Films, shown: int) -> list[int]:
    """Places of the films on the panel: from each source and class in turn, by lot."""
    rng = np.random.default_rng(0)
    among = ~films.has_mask if (~films.has_mask).any() else films.has_mask
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place in rng.permutation(np.flatnonzero(among)):
        film = films.listed[int(place)]
        groups[film.source, film.label].append(int(place))
    rounds = max(len(group) for group in groups.values())
    order = [group[k] for k in range(rounds) for _, group in sorted(groups.items()) if k < len(group)]
    return order[:shown]


def _tile(network: LungNetwork, films: Films, place: int) -> LungTile:
    film = films.listed[place]
    pixels = read_image(film.path).pixels
    found = two_lungs(network.probabilities(films.pixels[place]), (TILE, TILE))
    return LungTile(
        np.asarray(cv2.resize(pixels, (TILE, TILE), interpolation=cv2.INTER_AREA), np.uint8),
        None if found is None else found.region,
        None if found is None else tuple(found.frame),
        printable(film.label or film.source),
        printable(film.path.stem),
        films.masks[place] > 127 if films.has_mask[place] else None,
    )
