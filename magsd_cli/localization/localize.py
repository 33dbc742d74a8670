"""`magsd localize`: where the network looked, as pictures, masks and boxes, and how that fits the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from magsd_cli import __version__
from magsd_cli.artifacts.files import lock, sha256_bytes, sweep_orphans
from magsd_cli.artifacts.tables import LOCALIZATION, path_text, table_schema, write_table
from magsd_cli.console import progress, say
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import NoInputError
from magsd_cli.inference.decision import rules_of
from magsd_cli.inference.engines import Ask, asker
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.inference.model import Model, open_model
from magsd_cli.localization.controls import control_columns, untrained_asker
from magsd_cli.localization.folder import (
    finished_summary,
    localization_path,
    lock_path,
    table_path,
    write_summary,
)
from magsd_cli.localization.measure import (
    DEFAULT,
    GIVEN,
    Marked,
    Row,
    Threshold,
    error_row,
    lungs_of,
    mark,
    target,
)
from magsd_cli.localization.pictures import draw_findings, picture_names, settle
from magsd_cli.localization.scores import figures_by_kind
from magsd_cli.localization.threshold import DEFAULT_THRESHOLD, Held, hold, thresholds
from magsd_cli.localization.truth import Truth, read_truth
from magsd_cli.localization.views import View, view_files
from magsd_cli.localization.words import in_words, threshold_words

CONTROLS = {
    "shuffled": "the attention that the same networks gave to other patients' images with truth",
    "untrained": "the same networks with the random weights that training from scratch begins with",
}


@dataclass
class Findings:
    """What the pass over the images gathers: a row each, and what is held until thresholds are known."""

    rows: dict[Path, Row] = field(default_factory=dict)
    held: dict[Path, Held] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """What is asked: of which model, about which images, with which truth; `threshold` None: choose it."""

    model: Model
    files: Sequence[Path]
    truth: Mapping[Path, Truth]
    threshold: float | None

    @property
    def sha256(self) -> str:
        """The hash of the question: same model, same images, same truth, same threshold."""
        asked = [
            [path_text(path), _content(path), *_truth_content(self.truth.get(path))] for path in self.files
        ]
        temperature = rules_of(self.model).temperature
        words = [__version__, self.model.sha256, self.threshold, asked]
        return sha256_bytes(json.dumps([*words, *([temperature] if temperature else [])]).encode())


def localize(
    *,
    inputs: Sequence[Path],
    model: Path | None,
    runs: Path,
    boxes: Path | None = None,
    masks: Path | None = None,
    lungs: Path | None = None,
    threshold: float | None = None,
    name: str | None = None,
    device: str = "auto",
) -> tuple[Path, int]:
    """Mark on each image where the run `model` (None: the newest) looked; measure it where truth is given.

    Leaves ``runs/localize/<name>/``: overlays, masks, ``localization.parquet``, ``panel.png``, ``iou.png``
    and ``summary.json``; started again with the same question, it has nothing to do. `boxes` is a CSV,
    `masks` and `lungs` folders (see `inference.truth`), `threshold` a share of the attention's range (None:
    chosen on other folds, see `controls.thresholds`). Returns the folder and 0, or 3 when an image has an
    error row. Raises `NoInputError` when no image could be used, and the contract's others.
    """
    files = list_inputs(inputs)
    if not files:
        names = ", ".join(str(path) for path in inputs[:3])
        raise NoInputError(f"{names}: no files there; name images or folders of images")
    truth = read_truth(files, boxes, masks, lungs)
    asked = Question(open_model(model, runs), files, truth, threshold)
    request = asked.sha256
    folder = localization_path(runs, name or f"{asked.model.name[:100]}-{request[:8]}")
    with lock(lock_path(folder)):
        summary = finished_summary(folder, request)
        if summary is None:
            for part in (folder, folder / "overlays", folder / "masks"):
                sweep_orphans(part)
            say(f"{len(files)} files, {len(truth)} of them with truth")
            summary = _finish(asked, _look(asked, folder, device), folder) | {"request": request}
            write_summary(folder, summary)
        else:
            say(f"{folder}: is finished, nothing is left to do")
    for line in in_words(summary):
        say(line)
    if summary["ok"] == 0:
        raise NoInputError(f"{len(files)} files: none is an image that can be used; see {table_path(folder)}")
    return folder, 3 if summary["errors"] else 0


def _truth_content(truth: Truth | None) -> list[Any]:
    if truth is None:
        return [None, None]
    mask, lungs = (_content(path) if path else None for path in (truth.mask, truth.lungs))
    return [[list(box) for box in truth.boxes], mask, lungs]


def _content(path: Path) -> str:
    try:
        return sha256_bytes(read_bytes(path))
    except DecodeError as error:
        return error.code


def _look(asked: Question, folder: Path, device: str) -> Findings:
    """One pass over the images: decode, ask, mark; then those with truth, once their thresholds are known."""
    model, files = asked.model, asked.files
    ask, fold_of = asker(model, device), model.fold_of_content()
    ask_untrained = untrained_asker(model) if asked.truth else None
    patient_of = model.patient_of_content()
    names = picture_names(files)
    found = Findings(rows={path: {} for path in files})
    hands = min(max(1, (os.cpu_count() or 1) // 2), len(files))
    with progress("localize", len(files)) as bar:
        for views in view_files(files, model.preparation, hands):
            for answer in mark(views, model, ask, fold_of):
                if isinstance(answer, View):
                    found.rows[answer.path] = error_row(answer)
                    bar.update(1)
                    continue
                path, patient = answer.view.path, patient_of.get(answer.view.sha256)
                one = _with_truth(answer, asked.truth.get(path), ask_untrained, patient)
                if one is not None:
                    found.held[path] = one
                else:
                    plain = _without_choice(asked.threshold)
                    found.rows[path] = settle(answer, None, None, patient, plain, model, folder, names[path])
                bar.update(1)
    for path, chosen in thresholds(found.held, asked.threshold).items():
        one = found.held[path]
        found.rows[path] = settle(
            one.answer, one.aim, one.lungs, one.patient or None, chosen, model, folder, names[path]
        )
    return found


def _with_truth(
    answer: Marked, truth: Truth | None, ask_untrained: Ask | None, patient: str | None
) -> Held | None:
    """The image with its truth and what untrained networks say; None without any truth."""
    aim, lungs = target(truth, answer.view.shape), lungs_of(truth, answer.view.shape)
    if ask_untrained is None or (aim is None and lungs is None):
        return None
    assert answer.view.image is not None
    attention = ask_untrained(answer.view.image[None, None], answer.folds).attention
    assert attention is not None
    return hold(answer, aim, lungs, attention[0], patient)


def _without_choice(given: float | None) -> Threshold:
    return Threshold(DEFAULT_THRESHOLD, DEFAULT) if given is None else Threshold(given, GIVEN)


def _finish(asked: Question, found: Findings, folder: Path) -> dict[str, Any]:
    """Add the controls, draw the panel, write the table; return the summary."""
    for path, columns in control_columns(found.held, asked.threshold).items():
        found.rows[path] |= columns
    model = asked.model
    schema = table_schema(LOCALIZATION, model.classes)
    empty = dict.fromkeys(schema.names) | {"model_sha256": model.sha256}
    whole = {path: empty | row for path, row in found.rows.items()}
    draw_findings(folder, whole, found.held, model.classes)
    rows = list(whole.values())
    metadata = model.metadata() | {"threshold": asked.threshold}
    write_table(pa.Table.from_pylist(rows, schema=schema), table_path(folder), LOCALIZATION, metadata)
    return _summary(rows) | {
        "model": model.name,
        "model_sha256": model.sha256,
        "threshold": asked.threshold,
        "version": __version__,
    }


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    ok = [row for row in rows if row["status"] == "ok"]
    true = [row for row in ok if row["truth"] is not None or row["lungs_share"] is not None]
    return {
        "files": len(rows),
        "ok": len(ok),
        "errors": len(rows) - len(ok),
        "with_truth": len(true),
        "measured": sum(row["unseen"] is not False for row in true),
        "left_out_as_training_data": sum(row["unseen"] is False for row in true),
        "possibly_training_data": sum(row["unseen"] is None for row in true),
        "own_data_by_its_unseen_fold": sum(row["unseen"] is True and len(row["folds"]) == 1 for row in ok),
        "controls": CONTROLS,
        "area_share": float(np.mean([row["area_share"] for row in ok])) if ok else None,
        "thresholds": threshold_words([row for row in ok if row["unseen"] is not False]),
        "kinds": figures_by_kind(rows),
    }
