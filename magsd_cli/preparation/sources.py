"""The sources given to `prepare`: the records of all of them in one list, and the identity of the work."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from magsd_cli.console import counted, say
from magsd_cli.data.layouts import Listing, Record, read_layout
from magsd_cli.data.layouts.listing import Outlines, left_out_in_words
from magsd_cli.data.unicode_forms import look_alikes
from magsd_cli.errors import UsageError
from magsd_cli.preparation.dataset_recipe import DatasetRecipe, select
from magsd_cli.preparation.patient_ids import keep_apart, shared_ids
from magsd_cli.preparation.samples import PerClass, distinct_ids, map_labels, refuse_lateral, stamp
from magsd_cli.settings import Preprocessing

PIPELINE = 2  # raise when decoding or preprocessing changes pixels: old work must not be continued


@dataclass(frozen=True)
class Sources:
    """All that is listed: records of every source with labels mapped, lesion boxes and masks.

    `per_class` and `seed` say how many of each label are drawn. `origins` are the sources' names with the
    number of their records; `separate` says that the same patient id in two sources is two people.

    `boxes` as in `Listing`; `masks` maps an image's id to its kind ("lung", "lesion") and its mask.
    """

    names: list[str]
    records: list[Record]
    boxes: pd.DataFrame | None
    masks: dict[str, tuple[str, Path | Outlines]]
    per_class: PerClass = None
    seed: int = 0
    origins: tuple[tuple[str, int], ...] = ()
    separate: bool = False

    def origin_of_each(self) -> list[str]:
        """The name of the source of each record."""
        return [name for name, count in self.origins for _ in range(count)]


def list_sources(
    sources: Sequence[Path],
    layout: str,
    label_map: Sequence[str],
    view: str,
    per_class: int | None,
    seed: int,
    separate: bool = False,
) -> Sources:
    """Read the layout of every source, say what was found, and map the labels.

    `separate` keeps apart the patients of sources that number theirs alike.
    """
    if not sources:
        raise UsageError("SOURCE: none given; name a folder of X-rays")
    listings: dict[str, Listing] = {}
    if len({source.resolve() for source in sources}) < len(sources):
        raise UsageError("SOURCE: the same folder is named twice; name each once")
    for source in sources:
        listings[_free_name(_plain_name(source.absolute()), listings)] = read_layout(source, layout)
        _say_listing(source, list(listings.values())[-1])
    if separate:
        listings = {
            name: replace(listing, records=keep_apart(name, listing.records))
            for name, listing in listings.items()
        }
    for note in shared_ids(listings):
        say(f"prepare: {note}")
    joined = _join(listings, label_map, view, per_class, seed)
    return replace(joined, separate=separate)


def list_dataset(
    name: str, recipe: DatasetRecipe, paths: Mapping[str, Path], label_map: Sequence[str], view: str
) -> Sources:
    """Read the sources of a data recipe, each by its own layout, and give them the recipe's classes."""
    listings: dict[str, Listing] = {}
    for source, wanted in recipe.sources.items():
        listings[source] = select(read_layout(paths[source], wanted.layout), wanted)
        _say_listing(paths[source], listings[source])
    joined = _join(listings, label_map, view, recipe.classes, recipe.seed)
    return replace(joined, names=[name.replace("/", "-")])


def _join(
    listings: Mapping[str, Listing], label_map: Sequence[str], view: str, per_class: PerClass, seed: int
) -> Sources:
    records = distinct_ids([(name, listing.records) for name, listing in listings.items()])
    boxes, masks = _truth(list(listings.values()), records)
    if view == "frontal":
        records = refuse_lateral(records)
    records = map_labels(records, label_map)
    _say_look_alikes(records)
    origins = tuple((name, len(listing.records)) for name, listing in listings.items())
    return Sources(list(listings), records, boxes, masks, per_class, seed, origins)


def _say_look_alikes(records: Sequence[Record]) -> None:
    """Classes that a person would take for one."""
    for names in look_alikes({record.label for record in records if record.label is not None}):
        say(
            f"prepare: the classes {' and '.join(names)} differ only in case, blanks or dashes; "
            f'if they are one, join them with --map "{names[0]}={names[-1]}"',
            level="warning",
            labels=list(names),
        )


def _free_name(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


def _truth(
    listings: Sequence[Listing], records: Sequence[Record]
) -> tuple[pd.DataFrame | None, dict[str, tuple[str, Path | Outlines]]]:
    """Boxes and masks of all sources, under the ids that the images have now."""
    boxes: list[pd.DataFrame] = []
    masks: dict[str, tuple[str, Path | Outlines]] = {}
    start = 0
    for listing in listings:
        now = records[start : start + len(listing.records)]
        start += len(listing.records)
        ids = {old.image_id: new.image_id for old, new in zip(listing.records, now, strict=True)}
        if listing.boxes is not None and len(listing.boxes):
            boxes.append(listing.boxes.assign(image_id=listing.boxes["image_id"].map(ids)))
        masks |= {ids[old]: (listing.mask_kind, mask) for old, mask in listing.masks.items()}
    return pd.concat(boxes, ignore_index=True) if boxes else None, masks


def _say_listing(source: Path, listing: Listing) -> None:
    usable = [record for record in listing.records if record.problem is None]
    labels = Counter(record.label for record in usable)
    classes = ", ".join(
        f"{label or 'unlabelled'} {count}" for label, count in sorted(labels.items(), key=str)
    )
    patients = {record.patient_id for record in usable} - {""}
    known = counted(len(patients), "patient") if patients else "patients unknown"
    words = f"layout {listing.layout}, {counted(len(usable), 'image')} ({classes}), {known}"
    say(
        f"prepare: {source}: {words}",
        source=source,
        layout=listing.layout,
        images=len(usable),
        labels={str(label): count for label, count in labels.items()},
        patients=len(patients),
    )
    for note in listing.notes:
        say(f"prepare: {note}")
    left_out = left_out_in_words(listing)
    if left_out:
        say(f"prepare: {source}: {left_out}", source=source)


def source_key(listed: Sources, settings: Preprocessing, name: str | None, view: str) -> str:
    """SHA-256 over all that decides the result without opening an image: the identity of this work."""
    digest = hashlib.sha256()
    drawn = {"per_class": listed.per_class, "seed": listed.seed, "view": view}
    if listed.separate:  # ids of headers change as well, which the records do not show
        drawn["separate"] = True
    head = {"pipeline": PIPELINE, "name": name, **drawn, **settings.values()}
    digest.update(json.dumps(head, sort_keys=True).encode())
    for record in listed.records:
        facts = {
            **asdict(record),
            "path": os.fsencode(record.path.absolute()).hex(),
            "stamp": stamp(record.path),
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
    if listed.boxes is not None:
        digest.update(listed.boxes.to_csv(index=False).encode())
    for image_id, (_, mask) in sorted(listed.masks.items()):
        content = stamp(mask) if isinstance(mask, Path) else asdict(mask)
        digest.update(json.dumps([image_id, content]).encode())
    return digest.hexdigest()


def _plain_name(path: Path) -> str:
    """A source's name for ids and files: letters, digits, dot, dash and underscore."""
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "xrays"
