"""The true places of findings, for measuring localization: boxes from a CSV, masks from a folder.

``path,x,y,width,height`` (and optionally `label`), in pixels of the image as stored; a row a box. A path is
relative to the CSV's folder, or an end of the image's path; failing that its file name must be one image's
and one path's alone. Masks are pictures named as their images (without the suffix), anywhere under the
folder. Lung masks are given in the same way; they say where a finding can be, not where it is. Scores of the
six lung zones are a CSV with ``path,A,B,C,D,E,F``, or with such six columns for each reader, named
``<reader>_A`` and so on. What fits two ways is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from magsd_cli.console import counted, printable
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.data.layouts.listing import list_files
from magsd_cli.data.layouts.table import strict_rows
from magsd_cli.data.unicode_forms import same_path
from magsd_cli.errors import UsageError
from magsd_cli.localization.regions import Box, Mask
from magsd_cli.localization.zones import ZONES, ZoneScores

COLUMNS = ("path", "x", "y", "width", "height")
WORST = 100.0  # no score of a zone is as high


@dataclass(frozen=True)
class Truth:
    """The truth about one image: any number of boxes, mask files of the finding and of the lungs or None, the
    boxes' label, and the scores of its zones or None.
    """

    boxes: tuple[Box, ...] = ()
    mask: Path | None = None
    label: str = ""
    lungs: Path | None = None
    zones: ZoneScores | None = None


def read_truth(
    files: Sequence[Path],
    boxes: Path | None,
    masks: Path | None,
    lungs: Path | None = None,
    zones: Path | None = None,
) -> dict[Path, Truth]:
    """The truth of each of `files` that has any. Raises `UsageError` for what is unreadable or ambiguous."""
    found: dict[Path, list[tuple[Box, str]]] = defaultdict(list)
    if boxes is not None:
        for path, box, label in _read_boxes(boxes, files):
            found[path].append((box, label))
    pictures = {} if masks is None else _match_masks(masks, files, "--masks")
    chests = {} if lungs is None else _match_masks(lungs, files, "--lungs")
    scores = {} if zones is None else _read_zones(zones, files)
    return {
        path: Truth(
            tuple(box for box, _ in found[path]),
            pictures.get(path),
            next((label for _, label in found[path] if label), ""),
            chests.get(path),
            scores.get(path),
        )
        for path in files
        if path in found or path in pictures or path in chests or path in scores
    }


def read_mask(path: Path, shape: tuple[int, int]) -> Mask:
    """A mask picture as bool [H,W]: true where it is brighter than half.

    Raises `UsageError` when it is not a picture or not of the image's `shape`.
    """
    try:
        data = np.frombuffer(read_bytes(path), np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    except (DecodeError, cv2.error) as error:
        raise UsageError(f"{path}: cannot be read as a mask ({error}); fix or remove it") from error
    if picture is None:
        raise UsageError(f"{path}: is not a picture; fix or remove it")
    if picture.shape != shape:
        size, expected = (f"{width}x{height}" for height, width in (picture.shape, shape))
        raise UsageError(f"{path}: the mask is {size}, its image {expected} pixels; give it the same size")
    return np.asarray(picture > 127)


def _read_boxes(table: Path, files: Sequence[Path]) -> Iterable[tuple[Path, Box, str]]:
    for where, path, row in _rows_of(table, COLUMNS, files):
        box = _box(row, where)
        if path is not None:
            yield path, box, row.get("label", "")


def _rows_of(
    table: Path, columns: tuple[str, ...], files: Sequence[Path]
) -> Iterable[tuple[str, Path | None, dict[str, str]]]:
    """For each row of a CSV: where it stands, which of `files` it is about (None: none of them), the row."""
    rows = list(strict_rows(table, columns))
    ends = _ends(files)
    names: dict[str, set[str]] = defaultdict(set)
    for _, row in rows:
        names[PurePosixPath(row["path"]).name].add(row["path"])
    for number, row in rows:
        where = f"{table}: row {number}"
        path = _find(row["path"], table, ends, where)
        if path is None and len(names[PurePosixPath(row["path"]).name]) == 1:
            path = _find(PurePosixPath(row["path"]).name, table, ends, where)
        yield where, path, row


def _read_zones(table: Path, files: Sequence[Path]) -> dict[Path, ZoneScores]:
    """The scores of each of `files` that has any; a reader who left a zone empty has none of that image."""
    found: dict[Path, ZoneScores] = {}
    for where, path, row in _rows_of(table, ("path",), files):
        readers = _readers(row, where)
        if path is None or not readers:
            continue
        if path in found:
            raise UsageError(f"{where}: {printable(row['path'])} stands twice; keep one row of it")
        found[path] = ZoneScores(readers)
    return found


def _readers(row: dict[str, str], where: str) -> dict[str, tuple[float, ...]]:
    """The six scores of each reader of a row: of the columns A to F, or <reader>_A to <reader>_F."""
    prefixes = [name[:-1] for name in row if name == "a" or name.endswith("_a")]
    readers = {}
    for prefix in prefixes:
        columns = [f"{prefix}{zone.lower()}" for zone in ZONES]
        absent = [name for name in columns if name not in row]
        if absent:
            raise UsageError(f"{where}: column {absent[0]} is missing; a reader needs six, A to F")
        values = [row[name] for name in columns]
        if all(values):
            readers[prefix.removesuffix("_")] = tuple(_score(value, where) for value in values)
    if not prefixes:
        raise UsageError(
            f"{where}: no scores; name the columns A, B, C, D, E, F, or <reader>_A to <reader>_F"
        )
    return readers


def _score(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(
            f"{where}: {printable(text)} is no score; write a number, or leave it empty"
        ) from error
    if not 0 <= value < WORST:
        raise UsageError(f"{where}: {text} is no score; write a number from 0 (no disease) on")
    return value


def _box(row: dict[str, str], where: str) -> Box:
    try:
        x, y, width, height = (float(row[name]) for name in COLUMNS[1:])
    except ValueError as error:
        raise UsageError(f"{where}: x, y, width, height must be numbers; fix the row") from error
    # 1e6: no picture is as wide; NaN and infinity fail the comparison as well.
    if not (0 < width < 1e6 and 0 < height < 1e6 and abs(x) < 1e6 and abs(y) < 1e6):
        raise UsageError(f"{where}: a box needs a positive width and height, in pixels; fix the row")
    return x, y, width, height


def _ends(files: Sequence[Path]) -> dict[tuple[str, ...], list[Path]]:
    """Every end of every file's absolute path -> the files that end so."""
    ends: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path in files:
        parts = Path(same_path(str(path.absolute()))).parts
        for start in range(len(parts)):
            ends[parts[start:]].append(path)
    return ends


def _find(text: str, table: Path, ends: dict[tuple[str, ...], list[Path]], where: str) -> Path | None:
    """The file that a row means; None when it is not among the inputs."""
    # An absolute path in the table stays itself when it is joined.
    there = same_path(str(table.absolute().parent / text))
    for parts in (Path(there).parts, PurePosixPath(same_path(text)).parts):
        fitting = ends.get(parts, [])
        if len(fitting) > 1:
            raise UsageError(
                f"{where}: {printable(text)} matches {len(fitting)} of the images; write more of the path"
            )
        if fitting:
            return fitting[0]
    return None


def _match_masks(folder: Path, files: Sequence[Path], option: str) -> dict[Path, Path]:
    if not folder.is_dir():
        raise UsageError(f"{option} {folder}: is not a folder; name the folder of the mask pictures")
    masks: dict[str, list[Path]] = defaultdict(list)
    for path in list_files(folder):
        masks[same_path(path.stem)].append(path)
    images: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        images[same_path(path.stem)].append(path)
    matched = {}
    for stem, paths in images.items():
        fitting = [mask for mask in masks.get(stem, []) if mask not in paths]
        if fitting and (len(paths) > 1 or len(fitting) > 1):
            raise UsageError(
                f"{folder}: {printable(stem)} is the name of {counted(len(paths), 'image')} and "
                f"{counted(len(fitting), 'mask')}; "
                "a mask must fit one image"
            )
        if fitting:
            matched[paths[0]] = fitting[0]
    return matched
