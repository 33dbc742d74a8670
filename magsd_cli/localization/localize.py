"""`magsd localize`: where the network looked, as pictures, masks and boxes, and how that fits the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from magsd_cli import __version__
from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.runs import REFIT
from magsd_cli.artifacts.tables import LOCALIZATION, path_text, table_schema, write_table
from magsd_cli.console import counted, noted, progress, say, say_each
from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import NoInputError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.inference.decision import rules_of
from magsd_cli.inference.engines import AttentionEngine, open_attention_engine
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.inference.model import Model, open_model
from magsd_cli.localization.controls import control_columns, has_torch, untrained_attention_engine
from magsd_cli.localization.folder import (
    Summary,
    finished_summary,
    localization_path,
    lock_path,
    table_path,
    write_summary,
)
from magsd_cli.localization.measure import (
    DEFAULT,
    GIVEN,
    AttendedImage,
    LocalizationRow,
    Threshold,
    attend,
    error_row,
    evidence_of,
    finding_of,
    lungs_of,
    number_in,
    with_columns,
)
from magsd_cli.localization.pictures import draw_overview, finish_image, picture_names
from magsd_cli.localization.regions import lay_on_film
from magsd_cli.localization.scores import figures_by_kind
from magsd_cli.localization.threshold import DEFAULT_THRESHOLD, PendingImage, pending_image, thresholds
from magsd_cli.localization.truth import Truth, read_truth
from magsd_cli.localization.views import View, view_files
from magsd_cli.localization.words import in_words, threshold_words
from magsd_cli.runtime.worker_pool import cores, hands_for
from magsd_cli.settings import Map, Network

CONTROLS = {
    "shuffled": "the attention that the same networks gave to other patients' images with truth",
    "untrained": "the same networks with the random weights that training from scratch begins with",
}


@dataclass(frozen=True)
class LocalizeOptions:
    """The options of localize: images, the model (None: the newest run under `runs`), and what is known of
    them.

    `boxes` is a CSV, `masks` and `lungs` folders (see `localization.truth`); `threshold` a share of the
    attention's range (None: chosen on other folds, see `threshold.thresholds`); `name` that of the folder;
    `map` is where they attend, or the evidence for the predicted class (see `measure.evidence_of`);
    `network` which networks look (None: those of the folds, and what a model file holds).
    """

    inputs: Sequence[Path]
    model: Path | None
    runs: Path
    boxes: Path | None = None
    masks: Path | None = None
    lungs: Path | None = None
    threshold: float | None = None
    name: str | None = None
    device: str = "auto"
    network: Network | None = None
    map: Map = Map.attention  #: what is marked
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
    """The results of the pass over the images: a row each, and what waits until thresholds are known."""

    rows: dict[Path, LocalizationRow] = field(default_factory=dict)
    pending: dict[Path, PendingImage] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalizationRequest:
    """A model, the images it is asked about, and their truth; `threshold` None: choose it."""

    model: Model
    files: Sequence[Path]
    truth: Mapping[Path, Truth]
    threshold: float | None
    map: Map = Map.attention

    @property
    def sha256(self) -> str:
        """The hash of the request: same model, same images, same truth, same threshold."""
        images = [
            [path_text(path), _content(path), *_truth_content(self.truth.get(path))] for path in self.files
        ]
        temperature = rules_of(self.model).temperature
        words = [__version__, self.model.sha256, self.threshold, images]
        words += [] if self.map == Map.attention else [self.map.value]
        return sha256_bytes(json.dumps([*words, *([temperature] if temperature else [])]).encode())


def localize(options: LocalizeOptions) -> tuple[Path, int]:
    """Mark on each image where the networks looked: the folder and the exit code of `localize_files`."""
    done = localize_files(options)
    return done.folder, done.code


def localize_files(options: LocalizeOptions) -> Localized:
    """Mark on each image where the networks looked; measure it where truth is given.

    Leaves ``runs/localize/<name>/``: overlays, masks, ``localization.parquet``, ``panel.png``, ``iou.png``
    and ``summary.json``; started again with the same request, it has nothing to do. The exit code is 0,
    or 3 when an image has an error row. Raises `NoInputError` when no image could be used, and the contract's
    others.
    """
    files = list_inputs(options.inputs, options.other_outputs)
    if not files:
        names = ", ".join(str(path) for path in options.inputs[:3])
        raise NoInputError(f"{names}: no files there; name images or folders of images")
    truth = read_truth(files, options.boxes, options.masks, options.lungs)
    model = open_model(options.model, options.runs, options.network)
    request = LocalizationRequest(model, files, truth, options.threshold, options.map)
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
            say(f"localize: {folder}: finished already, nothing left to do", folder=folder)
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
    return [[list(box) for box in truth.boxes], mask, lungs]


def _content(path: Path) -> str:
    try:
        return sha256_bytes(read_bytes(path))
    except DecodeError as error:
        return error.code


def _look(request: LocalizationRequest, folder: Path, device: str) -> Gathered:
    """One pass over the images: decode, ask, mark; then those with truth, once their thresholds are known."""
    model, files = request.model, request.files
    ask, fold_of = open_attention_engine(model, device), model.fold_of_content()
    ask_untrained = untrained_attention_engine(model) if request.truth and has_torch() else None
    if request.map == Map.evidence:
        ask = evidence_of(ask, model.name)
        ask_untrained = None if ask_untrained is None else evidence_of(ask_untrained, model.name)
    patient_of = model.patient_of_content()
    names = picture_names(files)
    found = Gathered(rows={path: {} for path in files})
    hands = hands_for(len(files), max(1, cores() // 2))
    with progress("localize", len(files)) as bar:
        for views in view_files(files, model.preprocessing, hands):
            for answer in attend(views, model, ask, fold_of, patient_of):
                if isinstance(answer, View):
                    found.rows[answer.path] = error_row(answer)
                    bar.update(1)
                    continue
                path = answer.view.path
                one = _with_truth(answer, request.truth.get(path), ask_untrained)
                if one is not None:
                    found.pending[path] = one
                else:
                    plain = _without_choice(request.threshold)
                    found.rows[path] = finish_image(
                        answer, None, None, plain, model.classes, folder, names[path]
                    )
                bar.update(1)
    with noted("localize: choosing thresholds, drawing the images with truth"):
        for path, chosen in thresholds(found.pending, request.threshold).items():
            one = found.pending[path]
            found.rows[path] = finish_image(
                one.attended, one.finding, one.lungs, chosen, model.classes, folder, names[path]
            )
    return found


def _with_truth(
    attended: AttendedImage, truth: Truth | None, ask_untrained: AttentionEngine | None
) -> PendingImage | None:
    """The image with its truth and what untrained networks say, if they can be asked; None without truth."""
    view = attended.view
    finding, lungs = finding_of(truth, view.shape), lungs_of(truth, view.shape)
    if finding is None and lungs is None:
        return None
    if ask_untrained is None:
        return pending_image(attended, finding, lungs, None)
    assert view.image is not None
    attention = ask_untrained(view.image[None, None], attended.folds).attention
    assert attention is not None
    return pending_image(attended, finding, lungs, lay_on_film(attention[0], view.frame, view.shape))


def _without_choice(given: float | None) -> Threshold:
    return Threshold(DEFAULT_THRESHOLD, DEFAULT) if given is None else Threshold(given, GIVEN)


def _controls(found: Gathered) -> dict[str, str]:
    """The controls that there are, in words: an image with truth has been shown to all of them."""
    asked = all(one.untrained is not None for one in found.pending.values())
    return {name: words for name, words in CONTROLS.items() if asked or name != "untrained"}


def _finish(request: LocalizationRequest, found: Gathered, folder: Path, sha256: str) -> Summary:
    """Add the controls, draw the panel, write the table; return the summary."""
    with noted("localize: comparing with chance"):
        for path, columns in control_columns(found.pending, request.threshold).items():
            found.rows[path] = with_columns(found.rows[path], columns)
    model = request.model
    schema = table_schema(LOCALIZATION, model.classes)
    empty = with_columns({}, dict.fromkeys(schema.names) | {"model_sha256": model.sha256})
    whole = {path: with_columns(empty, row) for path, row in found.rows.items()}
    with noted("localize: drawing the overview"):
        draw_overview(folder, whole, found.pending, model.classes)
    rows = list(whole.values())
    metadata = model.metadata() | {"threshold": request.threshold}
    if request.map != Map.attention:
        metadata["map"] = request.map.value
    write_table(pa.Table.from_pylist(rows, schema=schema), table_path(folder), LOCALIZATION, metadata)
    with noted("localize: working out intervals"):
        kinds = figures_by_kind(rows)
    failed = [row for row in rows if row["status"] == "error"]
    say_each([f"{row['path']}: {row['error_code']}: {row['error']}" for row in failed])
    ok = [row for row in rows if row["status"] == "ok"]
    true = [row for row in ok if row["truth"] is not None or row["lungs_share"] is not None]
    return {
        "request": sha256,
        "model": model.name,
        "model_sha256": model.sha256,
        "networks": len(model.folds),
        "threshold": request.threshold,
        "map": request.map.value,
        "version": __version__,
        "files": len(rows),
        "ok": len(ok),
        "errors": len(rows) - len(ok),
        "with_truth": len(true),
        "measured": sum(row["unseen"] is not False for row in true),
        "left_out_as_training_data": sum(row["unseen"] is False for row in true),
        "possibly_training_data": sum(row["unseen"] is None for row in true),
        "own_data_by_its_unseen_fold": sum(
            row["unseen"] is True and len(row["folds"]) == 1 and row["folds"] != [REFIT] for row in ok
        ),
        "controls": _controls(found),
        "area_share": float(np.mean([number_in(row, "area_share") for row in ok])) if ok else None,
        "thresholds": threshold_words([row for row in ok if row["unseen"] is not False]),
        "kinds": kinds,
    }
