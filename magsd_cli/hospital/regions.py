"""`magsd localize --dicom-seg`, `--dicom-sc`: after the pictures, the same as DICOM objects of the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from magsd_cli.artifacts.site_key import site_key
from magsd_cli.artifacts.tables import LOCALIZATION, read_table
from magsd_cli.errors import ArtifactError
from magsd_cli.hospital.algorithm import Algorithm, algorithm_of
from magsd_cli.hospital.codes import class_codes
from magsd_cli.hospital.reports import Outcome
from magsd_cli.hospital.result_folder import SC, SEG, ResultFolder, check_result_folder, open_result_folder
from magsd_cli.hospital.secondary_capture import build_sc, sc_uid
from magsd_cli.hospital.segmentation import RegionRule, build_seg, seg_uid
from magsd_cli.hospital.sources import Source, SourceError, open_source
from magsd_cli.inference.decision import rules_of
from magsd_cli.localization.folder import table_path
from magsd_cli.localization.localize import Localized, LocalizeOptions, localize_files
from magsd_cli.settings import Map

Pixels = npt.NDArray[np.uint8]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of object about an image: its UID, and how it is made of the localization's picture."""

    name: str
    words: str
    column: str  # of the localization's table, which names the picture
    uid: Callable[[Source, RegionRule, Algorithm], str]
    build: Callable[[Source, Pixels, RegionRule, Algorithm], Dataset]


def _segmentation(source: Source, picture: Pixels, rule: RegionRule, algorithm: Algorithm) -> Dataset:
    return build_seg(source, picture[..., 0] > 0, rule, algorithm)


KINDS = {
    SEG: Kind(SEG, "DICOM segmentation", "mask", seg_uid, _segmentation),
    SC: Kind(SC, "DICOM overlay", "overlay", sc_uid, build_sc),
}


def localize_with_objects(options: LocalizeOptions, folders: Mapping[str, Path]) -> tuple[Path, int]:
    """Localize, and leave the objects of each kind (`SEG`, `SC`) in its folder of `folders`.

    An object that is there is kept. Returns the localization's folder and 3 where an image with an answer got
    no object (it is not DICOM, or nothing is marked on it), else as `localize`. Raises as it does, and
    `NoInputError` where no object of a kind could be made.
    """
    for folder in folders.values():
        check_result_folder(folder)
    others = (*options.other_outputs, *folders.values())
    done = localize_files(replace(options, other_outputs=others))
    code = done.code
    key = lru_cache(partial(site_key, options.runs))
    outcomes = {}
    for kind, folder in folders.items():
        with ExitStack() as stack:
            results = stack.enter_context(open_result_folder(folder, key))
            outcomes[kind] = write_objects(done, KINDS[kind], results)
    for kind, folder in folders.items():
        code = outcomes[kind].conclude(KINDS[kind].words, folder, code)
    return done.folder, code


def write_objects(done: Localized, kind: Kind, results: ResultFolder) -> Outcome:
    """The objects of a kind for each image of a finished localization that has an answer."""
    model, outcome = done.model, Outcome()
    algorithm = algorithm_of(model, rules_of(model), class_codes(model.classes, model.recipe))
    rows = read_table(table_path(done.folder), LOCALIZATION).to_pylist()
    for path, row in zip(done.files, rows, strict=True):
        if row["status"] != "ok":
            continue
        try:
            rule = RegionRule(float(row["threshold"]), Map(row.get("map") or Map.attention))
            made = _object(path, row, done.folder, kind, rule, algorithm, results)
        except SourceError as error:
            outcome.refused[path] = error.reason
            continue
        outcome.made += made
        outcome.kept += not made
    return outcome


def _object(
    path: Path,
    row: Row,
    folder: Path,
    kind: Kind,
    rule: RegionRule,
    algorithm: Algorithm,
    results: ResultFolder,
) -> bool:
    """Make the object of a kind for one image; False where it is there already."""
    source = open_source(path)
    if source.sha256 != row["sha256"]:
        raise SourceError("the file changed after it was analysed; run it again with another --name")
    target = results.object_path(source.study_uid, kind.name, kind.uid(source, rule, algorithm))
    if target.exists():
        return False
    results.write(target, kind.build(source, _picture(folder / row[kind.column]), rule, algorithm))
    return True


def _picture(path: Path) -> Pixels:
    """A PNG that `localize` wrote, as RGB [H,W,3]. Raises `ArtifactError` where it is missing or damaged."""
    try:
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        pixels = None
    if pixels is None:
        raise ArtifactError(f"{path}: missing or damaged; localize again with another --name")
    return np.ascontiguousarray(pixels[..., ::-1])
