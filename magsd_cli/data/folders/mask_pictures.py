"""Masks that lie among films: which films they belong to, and which are left out because they fit none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from magsd_cli.data.folders.folder_names import (
    Kind,
    Place,
    bare_stem,
    collections_among,
    is_mask_file,
    kind_of,
    place_of,
)
from magsd_cli.data.layouts.listing import Record, relative_id

HEALTHY = {"normal", "healthy", "no finding", "no_finding", "nofinding", "control", "controls", "negative"}
Placed = list[tuple[Path, Place]]


@dataclass(frozen=True)
class Separated:
    """Films with their places; masks by image id, of one kind ("lung" or "lesion"); records of the rest."""

    films: Placed
    masks: dict[str, Path]
    mask_kind: str
    rest: list[Record]
    notes: list[str]


def separate(source: Path, files: Sequence[Path]) -> Separated:
    """Tell films from masks by the names of folders and files, and give each film its mask."""
    films: Placed = []
    masks: Placed = []
    rest: list[Record] = []
    folders = {path.parent: path.parent.relative_to(source).parts for path in files}
    collections = collections_among(folders.values())
    places = {folder: place_of(names, collections) for folder, names in folders.items()}
    for path in files:
        place = places[path.parent]
        if place.kind is Kind.DRAWINGS:
            rest.append(_left(source, path, "lies among annotations or overlays: not a film"))
        elif place.kind is Kind.MASKS or is_mask_file(path.name):
            masks.append((path, place))
        else:
            films.append((path, place))
    found: dict[str, dict[str, list[Path]]] = {"lung": defaultdict(list), "lesion": defaultdict(list)}
    films_of = _Index(source, films if masks else [])
    healthy = any((place.label or "").strip().lower() in HEALTHY for _, place in films)
    for path, place in masks:
        film = films_of.film_of(path, place)
        if film is None:
            rest.append(_left(source, path, "a mask, and no film has its name"))
        else:
            found[_kind(path.relative_to(source), healthy)][film].append(path)
    return _choose(source, films, found, rest)


def _choose(
    source: Path, films: Placed, found: dict[str, dict[str, list[Path]]], rest: list[Record]
) -> Separated:
    """One kind of masks, those of lesions before those of lungs, and one mask a film."""
    kind = "lung" if found["lung"] and not found["lesion"] else "lesion"
    masks: dict[str, Path] = {}
    for which, of_film in found.items():
        for film, paths in of_film.items():
            if which == kind and len(paths) == 1:
                masks[film] = paths[0]
                continue
            reason = "several masks fit its film" if which == kind else f"a {which} mask beside a {kind} mask"
            rest += [_left(source, path, reason) for path in paths]
    notes = [f"{source}: {len(masks)} masks are taken as {kind} masks of their films"] if masks else []
    return Separated(films, masks, kind, sorted(rest, key=lambda record: record.path), notes)


class _Index:
    """Films by the folders and the name that their masks share with them, and by name alone."""

    def __init__(self, source: Path, films: Placed) -> None:
        self._near: dict[tuple[tuple[str, ...], str], list[str]] = defaultdict(list)
        self._anywhere: dict[str, list[str]] = defaultdict(list)
        for path, place in films:
            image_id = relative_id(path, source)
            self._near[place.key, path.stem.casefold()].append(image_id)
            self._anywhere[path.stem.casefold()].append(image_id)

    def film_of(self, mask: Path, place: Place) -> str | None:
        for stem in (mask.stem.casefold(), bare_stem(mask.name)):
            for fitting in (self._near.get((place.key, stem)), self._anywhere.get(stem)):
                if fitting and len(fitting) == 1:
                    return fitting[0]
        return None


def _kind(mask: Path, healthy: bool) -> str:
    """Tell the outline of a mask by the words of its place, else the lungs' if healthy people have one."""
    names = [name for name in mask.parts[:-1] if kind_of(name) is Kind.MASKS]
    near = " ".join((*names[-1:], mask.stem)).lower()
    above = mask.as_posix().lower() if "segm" in mask.as_posix().lower() else ""
    for words in (near, above):
        if any(word in words for word in ("lesion", "infect", "patholog", "pneumothora")):
            return "lesion"
        if "lung" in words:
            return "lung"
    return "lung" if healthy else "lesion"


def _left(source: Path, path: Path, reason: str) -> Record:
    return Record(path=path, image_id=relative_id(path, source), problem=("mask", reason))
