"""The folders that localize makes, ``runs/localize/<name>/``. The summary comes last and makes one whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from magsd_cli.artifacts.files import check_hash, read_json
from magsd_cli.artifacts.runs import write_json_hashed
from magsd_cli.artifacts.tables import LOCALIZATION, read_table, table_metadata
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.localization.row import LocalizationRow
from magsd_cli.localization.scores import KindFigures
from magsd_cli.settings import BoxRule, Map


class Summary(TypedDict):
    """The keys of summary.json: what was asked, of which model, and the figures."""

    request: str
    model: str
    model_sha256: str
    networks: NotRequired[int]  # not in those of earlier versions
    threshold: float | None
    map: str
    box: str
    version: str
    files: int
    ok: int
    errors: int
    with_truth: int
    measured: int
    left_out_as_training_data: int
    possibly_training_data: int
    own_data_by_its_unseen_fold: int
    controls: dict[str, str]
    missing_controls: NotRequired[dict[str, str]]
    area_share: float | None
    choices: NotRequired[dict[str, str]]
    thresholds: dict[str, str]
    zones: NotRequired[dict[str, int]]
    kinds: dict[str, KindFigures]


@dataclass(frozen=True)
class Localization:
    """A finished localization: its rows, and the PNG of its panel where there is one.

    `problem` says why it could not be read; then nothing else is known of it.
    """

    name: str
    model_sha256: str | None = None
    rows: tuple[LocalizationRow, ...] = field(default=(), repr=False)
    panel: bytes | None = field(default=None, repr=False)
    map: str = Map.attention
    box: str = BoxRule.largest
    problem: str | None = None


def localization_path(runs: Path, name: str) -> Path:
    """Return the folder of the localization called `name`. Raises `UsageError` for a name that is not a
    folder name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", name):
        raise UsageError(f"--name {name!r}: use letters, digits, '.', '_' and '-'")
    return runs / "localize" / name


def table_path(folder: Path) -> Path:
    """The localization table."""
    return folder / "localization.parquet"


def csv_path(folder: Path) -> Path:
    """Return the path of the localization table as CSV."""
    return folder / "localization.csv"


def figures_path(folder: Path) -> Path:
    """Return the path of the figures: a row for each kind of truth, measure and control."""
    return folder / "figures.csv"


def zones_path(folder: Path) -> Path:
    """Return the path of the zones: severity, map and brightness in each of each image."""
    return folder / "zones.csv"


def summary_path(folder: Path) -> Path:
    """Return the path of ``summary.json``: the request, and the figures."""
    return folder / "summary.json"


def overlay_path(folder: Path, name: str) -> Path:
    """The overlay picture of one image."""
    return folder / "overlays" / f"{name}.png"


def mask_path(folder: Path, name: str) -> Path:
    """The mask that the network marks on one image."""
    return folder / "masks" / f"{name}.png"


def panel_path(folder: Path) -> Path:
    """Some images of each kind of truth side by side, as in the paper's Fig. 7."""
    return folder / "panel.png"


def histogram_path(folder: Path) -> Path:
    """Return the path of the histogram of the IoU over the images."""
    return folder / "iou.png"


def lock_path(folder: Path) -> Path:
    """The lock that a writer of the folder holds."""
    return folder / ".lock"


def finished_summary(folder: Path, request: str) -> Summary | None:
    """The summary of a finished localization that answers `request`; None when it is not finished.

    Raises `UsageError` when it answers another request, `ArtifactError` when it is damaged.
    """
    if not summary_path(folder).is_file():
        return None
    check_hash(summary_path(folder))
    summary = cast("Summary", read_json(summary_path(folder)))
    if summary.get("request") != request:
        raise UsageError(
            f"{folder}: holds a localization with another model, images, truth or options, or of an earlier "
            "magsd, which measured less; choose another --name"
        )
    read_table(table_path(folder), LOCALIZATION)
    return summary


def write_summary(folder: Path, summary: Summary) -> None:
    """Write the summary, after everything else."""
    write_json_hashed(summary_path(folder), summary)


def read_localizations(folders: Iterable[Path]) -> Iterator[Localization]:
    """The localizations in ``localize/*`` of each of `folders`, each once, by folder and name."""
    found = {p.resolve(): p for f in folders for p in sorted((f / "localize").glob("*/localization.parquet"))}
    for path in found.values():
        name, panel = path.parent.name, panel_path(path.parent)
        try:
            table = read_table(path, LOCALIZATION)
        except ArtifactError as error:
            yield Localization(name, problem=str(error))
            continue
        yield Localization(
            name,
            table_metadata(table).get("model_sha256"),
            tuple(cast("list[LocalizationRow]", table.to_pylist())),
            panel.read_bytes() if panel.is_file() else None,
            str(table_metadata(table).get("map", Map.attention)),
            str(table_metadata(table).get("box", BoxRule.largest)),
        )
