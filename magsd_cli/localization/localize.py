"""`magsd localize`: where the network looked, as pictures, masks and boxes, and how that fits the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from magsd_cli import __version__
from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.runs import REFIT
from magsd_cli.artifacts.sealed.row_groups import write_csv
from magsd_cli.artifacts.tables import (
    LOCALIZATION,
    path_text,
    table_schema,
    write_plain_csv,
    write_table,
)
from magsd_cli.console import counted, noted, progress, say, say_each
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import NoInputError, UsageError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.inference.decision import rules_of
from magsd_cli.inference.engines import open_attention_engine
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.inference.model import Model, open_model
from magsd_cli.localization.choice import (
    Candidates,
    Choice,
    PendingImage,
    box_rules,
    choices,
    default_choice,
    pending_image,
)
from magsd_cli.localization.controls.columns import control_columns
from magsd_cli.localization.controls.maps import control_engines, control_maps
from magsd_cli.localization.figures import figures_table, zones_table
from magsd_cli.localization.folder import (
    Summary,
    csv_path,
    figures_path,
    finished_summary,
    localization_path,
    lock_path,
    table_path,
    write_summary,
    zones_path,
)
from magsd_cli.localization.measure import attend, candidate_maps, known_truth
from magsd_cli.localization.pictures import draw_overview, finish_image, picture_names
from magsd_cli.localization.row import LocalizationRow, error_row, number_in, with_columns
from magsd_cli.localization.scores import controls_in, figures_by_kind, zone_counts
from magsd_cli.localization.truth import Truth, read_truth
from magsd_cli.localization.views import View, view_files
from magsd_cli.localization.words import choice_words, in_words, threshold_words
from magsd_cli.runtime.worker_pool import cores, hands_for
from magsd_cli.settings import BoxRule, Map, Network

CONTROLS = {
    "whole": "the whole film is marked",
    "constant": "one box, or one order of the zones, for all films, chosen on other patients",
    "brightness": "the gray of the film itself, before its contrast is equalised",
    "shuffled": "the maps that the same networks gave to other patients' images with truth",
    "untrained": "the same networks with the random weights that training from scratch begins with",
    "start": "the same networks with the weights that their training began with",
}
MEASURES = 2  # another number: what is measured is not what it was, and a finished answer is not this one


@dataclass(frozen=True)
class LocalizeOptions:
    """The options of localize: images, the model (None: the newest run under `runs`), and what is known of
    them.

    `boxes` and `zones` are CSVs, `masks` and `lungs` folders (see `localization.truth`); `threshold` a share
    of the map's range (None: chosen on other folds, see `choice.choices`); `name` that of the folder; `map`
    is where they attend, or the evidence for the predicted class (see `measure.maps_of`), `box` of which part
    the box is; `network` which networks look (None: those of the folds, and what a model file holds).
    """

    inputs: Sequence[Path]
    model: Path | None
    runs: Path
    boxes: Path | None = None
    masks: Path | None = None
    lungs: Path | None = None
    zones: Path | None = None
    threshold: float | None = None
    name: str | None = None
    device: str = "auto"
    network: Network | None = None
    map: Map = Map.attention  #: what is marked
    box: BoxRule = BoxRule.largest
    other_outputs: Sequence[Path] = ()  #: more places that are written to, and so are never inputs


@dataclass(frozen=True)
class Localized:
    """The result of a localization: its folder, the exit code, and the files in the order of its rows."""

    folder: Path
    code: int
    model: Model
    files: list[Path]


@dataclass
class Gathered:
    """The results of the pass over the images: a row each, and what waits until the choices are made.

    `missing`: the controls that cannot be, and why; `own`: content hashes of the images of the run.
    """

    candidates: Candidates
    rows: dict[Path, LocalizationRow] = field(default_factory=dict)
    pending: dict[Path, PendingImage] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    chosen: dict[Path, Choice] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # the controls that cannot be, and why


@dataclass(frozen=True)
class LocalizationRequest:
    """A model, the images it is asked about, and their truth; `threshold` None: choose it."""

    model: Model
    files: Sequence[Path]
    truth: Mapping[Path, Truth]
    threshold: float | None
    map: Map = Map.attention
    box: BoxRule = BoxRule.largest

    @property
    def sha256(self) -> str:
        """The hash of the request: same model, same images, same truth, same options."""
        images = [
            [path_text(path), _content(path), *_truth_content(self.truth.get(path))] for path in self.files
        ]
        temperature = rules_of(self.model).temperature
        words = [__version__, MEASURES, self.model.sha256, self.threshold, images]
        words += [self.map.value, self.box.value]
        return sha256_bytes(json.dumps([*words, *([temperature] if temperature else [])]).encode())


def localize(options: LocalizeOptions) -> tuple[Path, int]:
    """Mark on each image where the networks looked: the folder and the exit code of `localize_files`."""
    done = localize_files(options)
    return done.folder, done.code


def localize_files(options: LocalizeOptions) -> Localized:
    """Mark on each image where the networks looked; measure it where truth is given.

    Leaves ``runs/localize/<name>/``: overlays, masks, ``localization.parquet`` and the same as CSV,
    ``figures.csv``, ``zones.csv`` where there are zones, ``panel.png``, ``iou.png`` and ``summary.json``;
    started again with the same request, it has nothing to do. The exit code is 0, or 3 when an image has an
    error row. Raises `NoInputError` when no image could be used, and the contract's
    others.
    """
    files = list_inputs(options.inputs, options.other_outputs)
    if not files:
        names = ", ".join(str(path) for path in options.inputs[:3])
        raise NoInputError(f"{names}: no files there; name images or folders of images")
    if options.zones is not None and options.lungs is None:
        raise UsageError("--zones: the zones are thirds of the lungs; give their masks with --lungs DIR")
    truth = read_truth(files, options.boxes, options.masks, options.lungs, options.zones)
    model = open_model(options.model, options.runs, options.network)
    request = LocalizationRequest(model, files, truth, options.threshold, options.map, options.box)
    with noted(f"localize: reading {counted(len(files), 'file')} to identify them"):
        sha256 = request.sha256
    folder = localization_path(options.runs, options.name or f"{request.model.name[:100]}-{sha256[:8]}")
    with lock(lock_path(folder)):
        summary = finished_summary(folder, sha256)
        if summary is None:
            for part in (folder, folder / "overlays", folder / "masks"):
                sweep_orphans(part)
            words = f"{counted(len(files), 'file')}, {len(truth)} of them with truth"
            say(f"localize: {words}", files=len(files), with_truth=len(truth), folder=folder)
            summary = _finish(request, _look(request, folder, options.device), folder, sha256)
            write_summary(folder, summary)
        else:
            say(f"localize: {folder}: finished already, nothing is left to do", folder=folder)
    headline, *figures = in_words(summary)
    say(headline, folder=folder, **{name: summary[name] for name in ("files", "ok", "errors", "with_truth")})
    for line in figures:
        say(line)
    if summary["ok"] == 0:
        raise NoInputError(
            f"{counted(len(files), 'file')}: none is an image that can be used; see {table_path(folder)}"
        )
    return Localized(folder, 3 if summary["errors"] else 0, request.model, files)


def _truth_content(truth: Truth | None) -> list[object]:
    if truth is None:
        return [None, None]
    mask, lungs = (_content(path) if path else None for path in (truth.mask, truth.lungs))
    zones = None if truth.zones is None else dict(truth.zones.readers)
    return [[list(box) for box in truth.boxes], mask, lungs, zones]


def _content(path: Path) -> str:
    try:
        return sha256_bytes(read_bytes(path))
    except DecodeError as error:
        return error.code


def _look(request: LocalizationRequest, folder: Path, device: str) -> Gathered:
    """One pass over the images: decode, ask, mark; then those with truth, once their choices are made."""
    model, files = request.model, request.files
    ask, fold_of = open_attention_engine(model, device), model.fold_of_content()
    engines, missing = control_engines(model) if request.truth else ({}, {})
    patient_of = model.patient_of_content()
    names = picture_names(files)
    candidates = Candidates((), box_rules(request.box), request.threshold)
    found = Gathered(candidates, missing=missing, own=frozenset(fold_of or ()))
    found.rows = {path: {} for path in files}
    hands = hands_for(len(files), max(1, cores() // 2))
    with progress("localize", len(files)) as bar:
        for views in view_files(files, model.preprocessing, hands):
            for answer in attend(views, model, ask, fold_of, patient_of, request.map):
                bar.update(1)
                if isinstance(answer, View):
                    found.rows[answer.path] = error_row(answer)
                    continue
                path = answer.view.path
                if not found.candidates.maps:  # every image has the same
                    maps = candidate_maps(answer.maps, request.map)
                    found.candidates = replace(found.candidates, maps=maps)
                known = known_truth(request.truth.get(path), answer.view.shape)
                if known.kind is not None:
                    controls = control_maps(answer, engines, request.map)
                    found.pending[path] = pending_image(answer, known, controls, found.candidates)
                    continue
                choice = default_choice(found.candidates)
                found.rows[path] = finish_image(answer, known, choice, model.classes, folder, names[path])
    with noted("localize: choosing thresholds, drawing the images with truth"):
        found.chosen = choices(found.pending, found.candidates)
        for path, choice in found.chosen.items():
            one = found.pending[path]
            found.rows[path] = finish_image(
                one.attended, one.known, choice, model.classes, folder, names[path]
            )
    return found


def _finish(request: LocalizationRequest, found: Gathered, folder: Path, sha256: str) -> Summary:
    """Add the controls, draw the panel, write the tables; return the summary."""
    with noted("localize: comparing with chance"):
        for path, columns in control_columns(found.pending, found.candidates, found.chosen).items():
            found.rows[path] = with_columns(found.rows[path], columns)
    model = request.model
    schema = table_schema(LOCALIZATION, model.classes)
    empty = with_columns({}, dict.fromkeys(schema.names) | {"model_sha256": model.sha256})
    whole = {path: with_columns(empty, row) for path, row in found.rows.items()}
    with noted("localize: drawing the overview"):
        draw_overview(folder, whole, found.pending, model.classes)
    rows = list(whole.values())
    failed = [row for row in rows if row["status"] == "error"]
    say_each([f"{row['path']}: {row['error_code']}: {row['error']}" for row in failed])
    with noted("localize: working out intervals"):
        summary = _summary(request, found, rows, sha256)
    metadata = model.metadata() | {"threshold": request.threshold}
    metadata |= {} if request.map == Map.attention else {"map": request.map.value}
    metadata |= {} if request.box == BoxRule.largest else {"box": request.box.value}
    table = pa.Table.from_pylist(rows, schema=schema)
    write_table(table, table_path(folder), LOCALIZATION, metadata)
    write_csv(rows, csv_path(folder), LOCALIZATION, metadata)
    write_plain_csv(figures_table(summary["kinds"]), figures_path(folder))
    zones = zones_table(found.pending, found.chosen)
    if zones is not None:
        write_plain_csv(zones, zones_path(folder))
    return summary


def _summary(
    request: LocalizationRequest, found: Gathered, rows: Sequence[LocalizationRow], sha256: str
) -> Summary:
    ok = [row for row in rows if row["status"] == "ok"]
    unseen = [row for row in ok if row["unseen"] is not False]
    true = [row for row in ok if row["truth"] is not None or row["lungs_share"] is not None]
    kinds = figures_by_kind(rows)
    there = {name for figures in kinds.values() for name in controls_in(figures)}
    return {
        "request": sha256,
        "model": request.model.name,
        "model_sha256": request.model.sha256,
        "networks": len(request.model.folds),
        "threshold": request.threshold,
        "map": request.map.value,
        "box": request.box.value,
        "version": __version__,
        "files": len(rows),
        "ok": len(ok),
        "errors": len(rows) - len(ok),
        "with_truth": len(true),
        "measured": sum(row["unseen"] is not False for row in true),
        "left_out_as_training_data": sum(row["unseen"] is False for row in true),
        "possibly_training_data": sum(row["unseen"] is None for row in true),
        "own_data_by_its_unseen_fold": sum(
            row["unseen"] is True and row["sha256"] in found.own and row["folds"] != [REFIT] for row in ok
        ),
        "controls": {name: words for name, words in CONTROLS.items() if name in there},
        "missing_controls": found.missing,
        "area_share": float(np.mean([number_in(row, "area_share") for row in ok])) if ok else None,
        "choices": choice_words(unseen, request.map, request.box),
        "thresholds": threshold_words(unseen),
        "zones": zone_counts(unseen),
        "kinds": kinds,
    }
