"""The report's pictures of single images: out-of-fold attention of chosen cases, and localization results."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.localizations import panel_path
from magsd_cli.artifacts.runs import weights_path
from magsd_cli.artifacts.tables import LOCALIZATION, read_table, table_metadata
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.prediction import predict_images
from magsd_cli.reporting.cases import Chosen, cases_section, choose_cases
from magsd_cli.reporting.document import (
    Block,
    Caution,
    Commands,
    Gallery,
    GalleryCase,
    Heading,
    not_available,
)
from magsd_cli.reporting.figures import Case
from magsd_cli.reporting.gallery import gallery_rows, gallery_section, thumbnail
from magsd_cli.reporting.localized import localization_blocks
from magsd_cli.stages.evidence import Evidence
from magsd_cli.stages.networks import load_ensemble

TITLE = "Where the network looked"
#: How far a network's answer may be from the one in the table: another machine rounds differently.
TOLERANCE = 0.02


def attention_section(evidence: Evidence, cache: Cache | None) -> list[Block]:
    """A few cases with the attention of the network that never saw them, and a gallery of many.

    Raises `ArtifactError` where the networks do not give the run's predictions.
    """
    if evidence.predictions is None or evidence.probabilities is None:
        return [Heading(TITLE), not_available(evidence.missing["predictions"])]
    if cache is None:
        return [Heading(TITLE), not_available(evidence.missing["cache"])]
    table = evidence.predictions
    confidence = evidence.probabilities.max(axis=1)
    chosen = choose_cases(table, list(confidence), evidence.run.classes)
    right = (table["label"] == table["predicted"]).to_numpy(np.bool_)
    rows = gallery_rows(right, confidence, list(table["image_id"]))
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    pixels = {row: cache.images[place[table["image_id"].iloc[row]], 0] for row in _both(chosen, rows)}
    maps, reason = _attention(evidence, pixels)
    cases = [Case(case.title, pixels[case.row], maps.get(case.row)) for case in chosen]
    gallery = Gallery(
        evidence.run.classes,
        tuple(_gallery_case(evidence, row, thumbnail(pixels[row], maps.get(row))) for row in rows),
        len(table),
    )
    return [*cases_section(cases, chosen, reason), *gallery_section(gallery)]


def _both(chosen: list[Chosen], rows: list[int]) -> list[int]:
    return sorted({*rows, *(case.row for case in chosen)})


def _gallery_case(evidence: Evidence, row: int, jpeg: bytes) -> GalleryCase:
    assert evidence.predictions is not None
    assert evidence.probabilities is not None
    case = evidence.predictions.iloc[row]
    number = evidence.run.classes.index
    return GalleryCase(
        str(case["image_id"]), number(case["label"]), number(case["predicted"]),
        float(evidence.probabilities[row].max()), int(case["fold"]), jpeg,
    )  # fmt: skip


def _attention(
    evidence: Evidence, pixels: dict[int, npt.NDArray[np.uint8]]
) -> tuple[dict[int, npt.NDArray[np.float32]], str]:
    """Attention by row of the predictions, from the network of the image's own fold; and why there is none.

    pixels: the prepared image [S,S] of each wanted row.
    """
    run = evidence.run
    assert evidence.predictions is not None
    assert evidence.probabilities is not None
    fold_of = {row: int(evidence.predictions["fold"].iloc[row]) for row in pixels}
    folds = sorted(set(fold_of.values()))
    if not all(weights_path(run.path, fold).exists() for fold in folds):
        return {}, "a fold's weights are missing"
    maps: dict[int, npt.NDArray[np.float32]] = {}
    for fold in folds:
        own = [row for row in pixels if fold_of[row] == fold]
        images = np.stack([pixels[row] for row in own])[:, None]
        found = predict_images(load_ensemble(run, [fold]), images, with_attention=True)
        expected = evidence.probabilities[own]
        if float(np.abs(found.probabilities - expected).max()) > TOLERANCE:
            raise ArtifactError(
                f"{weights_path(run.path, fold)}: does not give the predictions of predictions.parquet; "
                "make the run again"
            )
        if found.attention is None:
            return {}, "this network has no attention maps"
        maps |= {row: found.attention[i] for i, row in enumerate(own)}
    return maps, ""


def localization_section(evidence: Evidence, folders: Iterable[Path]) -> list[Block]:
    """What `magsd localize` found with the networks of this run, from ``localize/*`` in `folders`."""
    model = evidence.hashes.get("networks that predicted", "")
    blocks: list[Block] = [Heading("Localization")]
    found = {p.resolve(): p for f in folders for p in sorted((f / "localize").glob("*/localization.parquet"))}
    for number, path in enumerate(found.values()):
        try:
            table = read_table(path, LOCALIZATION)
        except ArtifactError as error:
            blocks.append(Caution(f"A localization could not be read: {error}"))
            continue
        if table_metadata(table).get("model_sha256") == model:
            panel = panel_path(path.parent)
            picture = panel.read_bytes() if panel.is_file() else None
            blocks += localization_blocks(path.parent.name, table.to_pylist(), picture, number)
    if len(blocks) == 1:
        command = shlex.join(["magsd", "localize", "IMAGES", "--model", str(evidence.run.path)])
        blocks.append(not_available("nothing was localized with this run"))
        blocks.append(Commands((f"{command} --boxes boxes.csv --masks masks/ --lungs lungs/",)))
    return blocks
