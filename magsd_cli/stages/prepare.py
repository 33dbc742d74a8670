"""`magsd prepare`: any folders of X-rays into one cache.

Finished images go to shards in a work folder named by everything that matters (settings, listing, sizes and
times of the files), so that a run that was stopped goes on and one that changed nothing has nothing to do.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.cache import Preprocessing, cache_path, open_cache, write_cache
from magsd_cli.artifacts.files import lock, sweep_orphans
from magsd_cli.artifacts.shards import (
    done_cache,
    mark_done,
    read_images,
    read_rows,
    work_folder,
    write_shard,
)
from magsd_cli.artifacts.site_key import site_key
from magsd_cli.artifacts.truth import write_boxes, write_masks
from magsd_cli.console import printable, progress, say
from magsd_cli.data.audit import guard
from magsd_cli.data.decode import DecodeError
from magsd_cli.data.ingest import Ingested, Order, ingest
from magsd_cli.data.isolate import Crashed, run_isolated
from magsd_cli.data.layouts import Record
from magsd_cli.data.masks import draw_mask
from magsd_cli.data.samples import build_samples, choose, number_rows, used_classes
from magsd_cli.errors import ArtifactError, NoInputError, UsageError
from magsd_cli.stages.sources import Sources, list_sources, source_key

SHARD_IMAGES = 64
SHARD_BYTES = 16 * 2**20


def prepare(  # noqa: PLR0913 (a command's options)
    sources: Sequence[Path],
    runs: Path,
    *,
    layout: str = "auto",
    name: str | None = None,
    size: int = 224,
    clahe: bool = True,
    clip_limit: float = 4.0,
    tiles: int = 4,
    label_map: Sequence[str] = (),
    per_class: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    view: str = "frontal",
    key_file: Path | None = None,
) -> tuple[Path, int]:
    """Decode, resize and equalise the images of `sources` into one cache; return its path and 0 or 3.

    3 says that some inputs have an error row. `per_class` takes the first N of each label in an order that
    `seed` shuffles; `view` is frontal or all; `key_file` holds the site key with which patient ids of DICOM
    headers are hashed. Raises `NoInputError` when nothing is usable, `UsageError` for options and manifests
    that cannot be right, `LockedError` when the same work is being done already.
    """
    settings = _settings(size, clahe, clip_limit, tiles)
    listed = list_sources(sources, layout, label_map, view)
    key = source_key(listed, settings, name, per_class, seed, view)
    folder = runs / "cache"
    work = work_folder(folder, key)
    with lock(work / "lock"):
        sweep_orphans(folder)
        finished = _finished(work)
        if finished is not None:
            say(f"prepare: {finished}: nothing is left to do")
            return finished, _exit_code(open_cache(finished).samples())
        records = listed.records
        rows, shards = read_rows(work)
        order = partial(Order, **asdict(settings), lateral=view == "all")
        chosen = _ingest_all(records, order, per_class, seed, workers, work, rows, shards)
        samples = _judge(build_samples(records, rows, chosen, lru_cache(partial(site_key, runs, key_file))))
        _refuse_empty(samples, sources)
        positions = [i for i, status in enumerate(samples["status"]) if status == "ok"]
        name = name or _cache_name(listed.names)
        _write_truth(
            listed, cache_path(folder, name, samples, settings, used_classes(samples)), samples, size
        )
        path = write_cache(
            folder,
            name,
            samples,
            read_images(positions, shards),
            used_classes(samples),
            settings,
            source_digest=key,
        )
        mark_done(work, path)
    _summarise(samples, path)
    return path, _exit_code(samples)


def _settings(size: int, clahe: bool, clip_limit: float, tiles: int) -> Preprocessing:
    for option, value, fine in (
        ("--size", size, 16 <= size <= 4096),
        ("--clip-limit", clip_limit, 0 < clip_limit < float("inf")),
        ("--tiles", tiles, 1 <= tiles <= size),
    ):
        if not fine:
            raise UsageError(f"{option} {value}: out of range; the paper uses 224, 4.0 and 4")
    return Preprocessing(size, clahe, float(clip_limit), tiles)


def _finished(work: Path) -> Path | None:
    path = done_cache(work)
    if path is None:
        return None
    try:
        open_cache(path).samples()
    except ArtifactError as error:
        say(f"prepare: {error}; it is made again")
        return None
    return path


def _ingest_all(
    records: Sequence[Record],
    order: partial[Order],
    per_class: int | None,
    seed: int,
    workers: int | None,
    work: Path,
    rows: dict[int, dict[str, Any]],
    shards: dict[int, Path],
) -> list[int]:
    """Decode what is chosen and not yet in `rows`; images that fail are replaced when `per_class` is set."""
    while True:
        failed = {position for position, row in rows.items() if row["error_code"]} if per_class else set()
        chosen = choose(records, per_class, seed, failed)
        missing = [position for position in chosen if position not in rows]
        if not missing:
            return chosen
        if rows and not failed:
            say(f"prepare: continuing, {len(rows)} of {len(chosen)} images are done")
        _ingest(records, missing, order, workers or _cores(), work, rows, shards)


def _ingest(
    records: Sequence[Record],
    positions: Sequence[int],
    order: partial[Order],
    workers: int,
    work: Path,
    rows: dict[int, dict[str, Any]],
    shards: dict[int, Path],
) -> None:
    orders = (order(records[position].path) for position in positions)
    batch = max(1, min(SHARD_IMAGES, SHARD_BYTES // order.keywords["size"] ** 2))
    finished: dict[int, tuple[dict[str, Any], npt.NDArray[np.uint8] | None]] = {}
    start = time.perf_counter()

    def flush() -> None:
        if finished:
            path = write_shard(work, finished)
            rows.update({position: row for position, (row, _) in finished.items()})
            shards.update({p: path for p, (_, image) in finished.items() if image is not None})
            finished.clear()

    with progress("prepare", len(positions)) as bar:
        results = run_isolated(ingest, orders, min(workers, len(positions)))
        try:
            for number, (place, outcome) in enumerate(results, start=1):
                finished[positions[place]] = _row(outcome)
                bar.update(1, f"{number / (time.perf_counter() - start):.0f} images/s")
                if len(finished) >= batch:
                    flush()
        finally:
            results.close()
            flush()
    seconds = time.perf_counter() - start
    say(f"prepare: read {len(positions)} files in {seconds:.1f} s ({len(positions) / seconds:.0f} images/s)")


def _row(outcome: Ingested | Crashed) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    if isinstance(outcome, Crashed):
        outcome = Ingested(error_code=outcome.code, error=outcome.reason)
    row = {name: value for name, value in vars(outcome).items() if name not in ("image", "meta")}
    return {**row, **vars(outcome.meta)}, outcome.image


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _refuse_empty(samples: pd.DataFrame, sources: Sequence[Path]) -> None:
    if (samples["status"] == "ok").any():
        return
    counts = Counter(samples["error_code"])
    reasons = ", ".join(f"{code} {count}" for code, count in counts.most_common(4))
    names = ", ".join(str(source) for source in sources)
    raise NoInputError(f"{names}: no usable image ({reasons}); check the folder and its files")


def _judge(samples: pd.DataFrame) -> pd.DataFrame:
    """Groups that must share a fold, and conflicting labels left out."""
    samples, notes = guard(samples)
    for note in notes:
        say(f"prepare: {note}")
    return number_rows(samples)


def _write_truth(listed: Sources, path: Path, samples: pd.DataFrame, size: int) -> None:
    """Boxes and masks of images that are used, beside the cache to come; an unreadable mask is named."""
    ids = samples.loc[samples["status"] == "ok", "image_id"]
    if listed.boxes is not None and listed.boxes["image_id"].isin(ids).any():
        write_boxes(path, listed.boxes[listed.boxes["image_id"].isin(ids)].reset_index(drop=True))
    used = [image_id for image_id in ids if image_id in listed.masks]

    def drawn() -> Iterator[tuple[str, str, npt.NDArray[np.uint8]]]:
        for image_id in used:
            kind, mask = listed.masks[image_id]
            try:
                yield image_id, kind, draw_mask(mask, size)
            except DecodeError as error:
                say(f"prepare: mask of {printable(image_id)}: {error}; it is left out")

    if used:
        write_masks(path, drawn(), size)
        say(f"prepare: {len(used)} masks and their images")


def _summarise(samples: pd.DataFrame, path: Path) -> None:
    used = samples[samples["status"] == "ok"]
    counts = ", ".join(
        f"{label or 'unlabelled'} {count}" for label, count in sorted(Counter(used["label"]).items())
    )
    say(f"prepare: {path}: {len(used)} images used ({counts})")
    for status in ("excluded", "error"):
        rows = samples[samples["status"] == status]
        if len(rows):
            common = Counter(rows["error_code"]).most_common()
            codes = ", ".join(f"{code} {count}" for code, count in common)
            first = rows.iloc[0]
            reason = f"{printable(first['path'])}: {first['error']}"
            word = "left out" if status == "excluded" else "errors"
            say(f"prepare: {len(rows)} {word}: {codes}; first: {reason}")
    warned = int((used["warnings"].map(len) > 0).sum())
    if warned:
        say(f"prepare: {warned} images with a warning; see the samples table")
    unknown = int((used["patient_id"] == "").sum())
    if unknown:
        say(f"prepare: {unknown} images without a known patient: folds cannot keep those patients together")


def _exit_code(samples: pd.DataFrame) -> int:
    return 3 if (samples["status"] == "error").any() else 0


def _cache_name(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more"
