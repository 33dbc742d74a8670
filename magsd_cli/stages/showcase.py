"""The report's pictures of single images: out-of-fold attention of chosen cases, and localization results."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.cache import Cache
from magsd_cli.artifacts.runs import weights_path
from magsd_cli.artifacts.tables import LOCALIZATION, read_table, table_metadata
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.prediction import predict_images
from magsd_cli.reporting.cases import Chosen, cases_section, choose_cases
from magsd_cli.reporting.document import Block, Caution, Commands, Heading, not_available
from magsd_cli.reporting.figures import Case
from magsd_cli.reporting.localized import localization_blocks
from magsd_cli.stages.evidence import Evidence
from magsd_cli.stages.networks import load_ensemble

TITLE = "Where the network looked"
#: How far a network's answer may be from the one in the table: another machine rounds differently.
TOLERANCE = 0.02
OVERLAYS_PER_CLASS = 1


def attention_section(evidence: Evidence, cache: Cache | None) -> list[Block]:
    """A few cases with the attention of the network that never saw them. Raises `ArtifactError`."""
    if evidence.predictions is None or evidence.probabilities is None:
        return [Heading(TITLE), not_available(evidence.missing["predictions"])]
    if cache is None:
        return [Heading(TITLE), not_available(evidence.missing["cache"])]
    confidence = evidence.probabilities.max(axis=1)
    chosen = choose_cases(evidence.predictions, list(confidence), evidence.run.classes)
    place = {image_id: i for i, image_id in enumerate(cache.image_ids)}
    maps, reason = _attention(evidence, cache, chosen, place)
    cases = [
        Case(case.title, cache.images[place[case.image_id], 0], maps.get(case.image_id)) for case in chosen
    ]
    return cases_section(cases, chosen, reason)


def _attention(
    evidence: Evidence, cache: Cache, chosen: list[Chosen], place: dict[str, int]
) -> tuple[dict[str, npt.NDArray[np.float32]], str]:
    """Attention by image id, from the network of the image's own fold; and why there is none."""
    run = evidence.run
    if not all(weights_path(run.path, case.fold).exists() for case in chosen):
        return {}, "a fold's weights are missing"
    maps: dict[str, npt.NDArray[np.float32]] = {}
    for fold in sorted({case.fold for case in chosen}):
        own = [case for case in chosen if case.fold == fold]
        images = cache.images[[place[case.image_id] for case in own]]
        found = predict_images(load_ensemble(run, [fold]), images, with_attention=True)
        assert evidence.probabilities is not None
        expected = evidence.probabilities[[case.row for case in own]]
        if float(np.abs(found.probabilities - expected).max()) > TOLERANCE:
            raise ArtifactError(
                f"{weights_path(run.path, fold)}: does not give the predictions of predictions.parquet; "
                "make the run again"
            )
        if found.attention is None:
            return {}, "this network has no attention maps"
        maps |= {case.image_id: found.attention[i] for i, case in enumerate(own)}
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
            frame = _with_labels(table.to_pandas(), evidence.samples)
            overlays = _overlays(frame, path.parent)
            blocks += localization_blocks(path.parent.name, frame, overlays, number)
    if len(blocks) == 1:
        command = shlex.join(["magsd", "localize", "IMAGES", "--model", str(evidence.run.path)])
        blocks.append(not_available("nothing was localized with this run"))
        blocks.append(Commands((f"{command} --boxes boxes.csv --masks masks/",)))
    return blocks


def _with_labels(table: pd.DataFrame, samples: pd.DataFrame | None) -> pd.DataFrame:
    """The table with the true class of each image, known by its content; "" where it is not."""
    label_of = {} if samples is None else dict(zip(samples["sha256"], samples["label"], strict=True))
    return table.assign(label=[label_of.get(content) or "class unknown" for content in table["sha256"]])


def _overlays(table: pd.DataFrame, folder: Path) -> list[tuple[str, bytes]]:
    """Of each class with a truth the overlay whose IoU is the median one: (words, PNG)."""
    known = table[(table["status"] == "ok") & (table["unseen"] == True)]  # noqa: E712 (nullable column)
    iou = known["iou_mask"].fillna(known["iou_box"])
    known = known.assign(iou=iou)[iou.notna()].sort_values(["iou", "path"], kind="stable")
    shown = []
    for label, part in known.groupby("label"):
        row = part.iloc[(len(part) - 1) // 2]
        path = folder / str(row["overlay"])
        if path.is_file():
            words = f"{label}: the image with the median IoU of its class ({row['iou']:.2f})."
            shown.append((words, path.read_bytes()))
    return shown
