"""`magsd prepare`: any folders of X-rays into one cache.

Finished images go to shards in a work folder named by everything that matters (settings, listing, sizes and
times of the files), so that a run that was stopped goes on and one that changed nothing has nothing to do.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from magsd_cli.artifacts.cache import (
    FRAME_COLUMNS,
    Cache,
    cache_lungs_path,
    cache_path,
    dataset_digest,
    open_cache,
    write_cache,
)
from magsd_cli.artifacts.cache_truth import write_boxes, write_masks
from magsd_cli.artifacts.files import lock, sweep_orphans, write_hashed
from magsd_cli.artifacts.site_key import site_key
from magsd_cli.console import counted, detail, is_verbose, noted, printable, progress, say
from magsd_cli.data.decode import DecodeError
from magsd_cli.data.film import LUNGS_NOT_FOUND, lung_network_of, open_lung_network, shipped
from magsd_cli.data.ingest import Ingested, IngestTask
from magsd_cli.data.layouts import Record
from magsd_cli.data.masks import WHOLE, Part, draw_mask
from magsd_cli.errors import ArtifactError, NoInputError, UsageError
from magsd_cli.preparation.dataset_recipe import (
    DatasetRecipe,
    compare_counts,
    load_dataset_recipe,
    named_sources,
)
from magsd_cli.preparation.duplicates import guard
from magsd_cli.preparation.patient_ids import keep_header_ids_apart, odd_ids, shared_header_ids
from magsd_cli.preparation.samples import Samples, choose, number_rows, sample_rows, used_classes
from magsd_cli.preparation.shards import Finished, done_cache, images_of_shard, mark_done, work_folder
from magsd_cli.preparation.sources import Sources, list_dataset, list_sources, source_key
from magsd_cli.preparation.workplace import Workplace, here, on_cluster
from magsd_cli.settings import Lungs, Preprocessing


@dataclass(frozen=True)
class PrepareOptions:
    """The options of prepare: folders or files of X-rays, or a data recipe and its archives."""

    sources: Sequence[Path]
    runs: Path
    layout: str = "auto"
    name: str | None = None  #: the cache's; None: the first source's
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    label_map: Sequence[str] = ()  #: OLD=NEW; an empty NEW leaves the label out
    per_class: int | None = None  #: the first so many of each label, in an order that `seed` shuffles
    workers: int | None = None
    seed: int = 0
    view: str = "frontal"  #: or all
    key_file: Path | None = None  #: holds the site key with which patient ids of DICOM headers are hashed
    recipe: str | None = None  #: a data recipe's name; then there are no `sources`
    named: Sequence[str] = ()  #: the recipe's archives, as NAME=PATH
    separate_patients: bool = False  #: the same patient id in two sources is two people
    cluster: str | None = None  #: the address of a Ray cluster; then there are no `workers`


def prepare(options: PrepareOptions) -> tuple[Path, int]:
    """Decode, resize and equalise images into one cache; return its path, and 0 or 3: some have an error row.

    Raises `NoInputError` when nothing is usable, `UsageError` for options and manifests that cannot be right,
    `LockedError` when the same work is being done already.
    """
    options = replace(options, preprocessing=checked_settings(options.preprocessing))
    if options.cluster is not None and options.workers is not None:
        raise UsageError("--workers: a cluster shares the work out by itself; omit --workers")
    if options.view not in ("frontal", "all"):
        raise UsageError(f"--view {options.view}: must be frontal or all")
    with noted("prepare: listing the sources"):
        listed, dataset = list_inputs_of(options)
    detail(f"prepare: settings: {_settings_in_words(options)}")
    path, samples = _prepare_listed(listed, options)
    if dataset is not None:
        counts = Counter(samples.loc[samples["status"] == "ok", "label"].tolist())
        words = compare_counts(dataset, counts)
        say(f"prepare: {options.recipe} against Table 1: {words}", recipe=options.recipe, used=dict(counts))
    return path, 3 if (samples["status"] == "error").any() else 0


def list_inputs_of(options: PrepareOptions) -> tuple[Sources, DatasetRecipe | None]:
    """All that `prepare` would read, and the data recipe where there is one.

    Raises `UsageError` and `NoInputError` as `prepare` does.
    """
    given = options
    checked_settings(given.preprocessing)
    if given.recipe is None:
        if given.named:
            raise UsageError(f"--source {given.named[0]}: belongs to a data recipe; add --recipe data/a")
        listed = list_sources(
            given.sources, given.layout, given.label_map, given.view, given.per_class, given.seed,
            given.separate_patients,
        )  # fmt: skip
        return listed, None
    dataset = load_dataset_recipe(given.recipe)
    if given.sources:
        raise UsageError(f"{given.sources[0]}: a data recipe takes --source NAME=PATH instead")
    paths = named_sources(given.recipe, dataset, given.named)
    return list_dataset(given.recipe, dataset, paths, given.label_map, given.view), dataset


def _prepare_listed(listed: Sources, options: PrepareOptions) -> tuple[Path, pd.DataFrame]:
    """The cache of what is listed, and what is known of its samples: found finished, continued or made."""
    settings, runs = options.preprocessing, options.runs
    with noted("prepare: looking up sizes and times of the files"):
        key = source_key(listed, settings, options.name, options.view)
    folder = runs / "cache"
    work = work_folder(folder, key)
    with lock(work / "lock"):
        sweep_orphans(folder)
        finished = _finished(work)
        if finished is not None:
            say(f"prepare: {finished.path}: finished already, nothing is left to do", cache=finished.path)
            return finished.path, finished.samples()
        done = Finished(work, len(listed.records)).read()
        task = partial(IngestTask, preprocessing=settings, lateral=options.view == "all")
        site = lru_cache(partial(site_key, runs, options.key_file))
        with _workplace(options, site) as place:
            chosen = _ingest_all(listed, task, place, done)
            with noted("prepare: looking for duplicates and patients in common"):
                samples = Samples(lambda: sample_rows(listed.records, done.rows(), chosen, site))
                samples.known = _grouped(_with_origins(samples.known, listed), place)
        _refuse_empty(samples.known, listed)
        classes, name = used_classes(samples.known), options.name or _cache_name(listed.names)
        with noted("prepare: writing the cache"):
            digest = dataset_digest(samples, settings, classes)
            path = cache_path(folder, name, digest)
            _write_truth(listed, path, samples, settings.size)
            if settings.lungs != Lungs.none:
                write_hashed(cache_lungs_path(path), lung_network_of(settings).data)
            images = done.images(np.flatnonzero(samples.known["status"] == "ok"))
            path = write_cache(folder, name, samples, images, classes, settings, key, digest)
        _summarise(samples, path)
        mark_done(work, path)
    return path, samples.known


def _settings_in_words(options: PrepareOptions) -> str:
    """The options that decide what the images are, with their defaults filled in."""
    made = options.preprocessing
    values: dict[str, Any] = {
        "layout": options.layout, "size": made.size, "clahe": made.clahe, "clip-limit": made.clip_limit,
        "tiles": made.tiles, "view": options.view, "per-class": options.per_class, "seed": options.seed,
        "recipe": options.recipe, "separate-patients": options.separate_patients,
    }  # fmt: skip
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _workplace(options: PrepareOptions, site: Callable[[], bytes]) -> AbstractContextManager[Workplace]:
    return (
        nullcontext(here(options.workers)) if options.cluster is None else on_cluster(options.cluster, site)
    )


def checked_settings(given: Preprocessing) -> Preprocessing:
    """The settings with the lung network that they mean.

    Raises `UsageError` for what is out of range, `ArtifactError` for a lung network that is missing or
    damaged.
    """
    for option, value, fine in (
        ("--size", given.size, 16 <= given.size <= 4096),
        ("--clip-limit", given.clip_limit, 0 < given.clip_limit < float("inf")),
        ("--tiles", given.tiles, 1 <= given.tiles <= given.size),
    ):
        if not fine:
            raise UsageError(f"{option} {value}: out of range; the paper uses 224, 4.0 and 4")
    return _with_lung_network(replace(given, clip_limit=float(given.clip_limit)))


def _with_lung_network(given: Preprocessing) -> Preprocessing:
    """The settings with the lung network that they name, or the one that comes with the tool, by its hash."""
    if given.lungs == Lungs.none:
        if given.lung_file is not None:
            raise UsageError(f"--lung-network {given.lung_file}: belongs to --lungs crop or --lungs mask")
        return given
    file = (given.lung_file or shipped()).resolve()
    return replace(given, lung_file=file, lung_network=open_lung_network(file).sha256)


def _finished(work: Path) -> Cache | None:
    path = done_cache(work)
    if path is None:
        return None
    try:
        cache = open_cache(path)
        cache.samples()
    except ArtifactError as error:
        say(f"prepare: {error}; making it again", level="warning")
        return None
    return cache


def _ingest_all(
    listed: Sources, task: partial[IngestTask], place: Workplace, done: Finished
) -> Sequence[int]:
    """Decode what is chosen and not yet `done`; with a number per class, failed images are replaced."""
    while True:
        failed = done.failed() if listed.per_class else set()
        chosen = choose(listed.records, listed.per_class, listed.seed, failed)
        missing = [position for position in chosen if position not in done]
        if not missing:
            return chosen
        if len(done) and not failed:
            words = f"{len(done)} of {counted(len(chosen), 'image')} are done already"
            say(f"prepare: continuing, {words}", done=len(done), total=len(chosen))
        _ingest(listed.records, missing, task, place, done)


def _ingest(
    records: Sequence[Record],
    positions: Sequence[int],
    task: partial[IngestTask],
    place: Workplace,
    finished: Finished,
) -> None:
    size = task.keywords["preprocessing"].size
    tasks = (task(records[position].path) for position in positions)
    batch = images_of_shard(size)
    shard: dict[int, tuple[dict[str, Any], npt.NDArray[np.uint8] | None]] = {}
    start = time.perf_counter()

    def flush() -> None:
        if shard:
            finished.write(shard)
            shard.clear()

    with progress("prepare", len(positions), "files") as bar:
        results, done = place.read(tasks, len(positions), size), 0
        try:
            for some in results:
                for outcome in some:
                    shard[positions[done]] = _row(outcome)
                    done += 1
                bar.update(len(some), f"{done / (time.perf_counter() - start):.0f} images/s")
                if len(shard) >= batch:
                    flush()
        finally:
            results.close()
            flush()
    seconds = time.perf_counter() - start
    pace = len(positions) / seconds
    say(
        f"prepare: read {counted(len(positions), 'file')} in {seconds:.1f} s ({pace:.0f} images/s)",
        files=len(positions),
        seconds=round(seconds, 3),
    )


def _row(outcome: Ingested) -> tuple[dict[str, Any], npt.NDArray[np.uint8] | None]:
    row = {name: value for name, value in vars(outcome).items() if name not in ("image", "meta")}
    return {**row, **vars(outcome.meta)}, outcome.image


def _refuse_empty(samples: pd.DataFrame, listed: Sources) -> None:
    if (samples["status"] == "ok").any():
        return
    counts = Counter(samples["error_code"])
    reasons = ", ".join(f"{code} {count}" for code, count in counts.most_common(4))
    names = ", ".join(listed.names)
    raise NoInputError(f"{names}: no usable image ({reasons}); check the folder and its files")


def _with_origins(samples: pd.DataFrame, listed: Sources) -> pd.DataFrame:
    """Ids of headers of several sources: kept apart where that is asked for, else said where they meet."""
    if len(listed.origins) < 2:
        return samples
    origins = listed.origin_of_each()
    if listed.separate:
        return keep_header_ids_apart(samples, origins, listed.records)
    for note in shared_header_ids(samples, origins, listed.records):
        say(f"prepare: {note}")
    return samples


def _grouped(samples: pd.DataFrame, place: Workplace) -> pd.DataFrame:
    """Groups that must share a fold, and conflicting labels left out."""
    samples, notes = guard(samples, place.compare)
    for note in notes + odd_ids(samples):
        say(f"prepare: {note}")
    return number_rows(samples)


def _write_truth(listed: Sources, path: Path, samples: Samples, size: int) -> None:
    """Boxes and masks of images that are used, beside the cache to come; an unreadable mask is named."""
    ids = samples.known.loc[samples.known["status"] == "ok", "image_id"]
    if listed.boxes is not None and listed.boxes["image_id"].isin(ids).any():
        write_boxes(path, listed.boxes[listed.boxes["image_id"].isin(ids)].reset_index(drop=True))
    used = [image_id for image_id in ids if image_id in listed.masks] if listed.masks else []
    parts = _parts(samples) if used else {}

    def drawn() -> Iterator[tuple[str, str, npt.NDArray[np.uint8]]]:
        for image_id in used:
            kind, mask = listed.masks[image_id]
            try:
                yield image_id, kind, draw_mask(mask, size, parts.get(image_id, WHOLE))
            except DecodeError as error:
                say(f"prepare: mask of {printable(image_id)}: {error}; left out", level="warning")

    if used:
        write_masks(path, drawn(), size)
        say(f"prepare: {counted(len(used), 'mask')} kept beside the cache", masks=len(used))


def _parts(samples: Samples) -> dict[str, Part]:
    """The part of each film that its image shows, as shares of the film, where films are cut."""
    names = ("width", "height", *FRAME_COLUMNS)
    cut = ((row["image_id"], *(row[name] for name in names)) for row in samples)
    return {
        image_id: (x / width, y / height, wide / width, high / height)
        for image_id, width, height, x, y, wide, high in cut
        if x is not None
    }


def _summarise(samples: Samples, path: Path) -> None:
    known = samples.known
    used = known[known["status"] == "ok"]
    labels = Counter(used["label"].tolist())
    counts = ", ".join(f"{label or 'unlabelled'} {count}" for label, count in sorted(labels.items()))
    words = f"{counted(len(used), 'image')} used ({counts})"
    say(f"prepare: {path}: {words}", cache=path, images=len(used), labels=dict(labels))
    for status in ("excluded", "error"):
        _say_unused(samples, status)
    warned = whole = 0
    for row in samples:
        if row["status"] == "ok":
            warned += bool(row["warnings"])
            whole += LUNGS_NOT_FOUND in row["warnings"]
    if whole:
        words = f"{whole} of {counted(len(used), 'film')} kept whole: two lungs were not found"
        say(f"prepare: {words}", level="warning", whole=whole)
    if warned:
        say(f"prepare: {counted(warned, 'image')} with a warning; see the samples table", warned=warned)
    unknown = int((used["patient_id"] == "").sum())
    if unknown:
        words = f"{counted(unknown, 'image')} without a known patient"
        say(f"prepare: {words}: folds cannot keep those patients together", unknown_patients=unknown)


def _say_unused(samples: Samples, status: str) -> None:
    """Say how many files have this status, by code, and the first; with --verbose each of them."""
    codes = Counter(samples.known.loc[samples.known["status"] == status, "error_code"].tolist())
    if not codes:
        return
    rows = (row for row in samples if row["status"] == status)
    first = next(rows)
    common = codes.most_common()
    reason = f"{printable(first['path'])}: {first['error']}"
    word = "left out" if status == "excluded" else "with an error"
    words = ", ".join(f"{code} {count}" for code, count in common)
    text = f"prepare: {counted(codes.total(), 'file')} {word}: {words}; first: {reason}"
    say(text, status=status, files=codes.total(), codes=dict(common))
    for row in chain([first], rows) if is_verbose() else ():
        detail(f"prepare: {printable(row['path'])}: {row['error_code']}: {row['error']}")


def _cache_name(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}-and-{len(names) - 1}-more"
