"""What `prepare` was pointed at: the records of every source in one list, and the identity of the work."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from magsd_cli.artifacts.cache import Preprocessing
from magsd_cli.console import say
from magsd_cli.data.layouts import Listing, Record, read_layout
from magsd_cli.data.samples import distinct_ids, map_labels, stamp
from magsd_cli.errors import UsageError

PIPELINE = 1  # raise when decoding or preprocessing changes pixels: old work must not be continued


@dataclass(frozen=True)
class Sources:
    """All that is listed: records of every source with labels mapped, and truth for localization."""

    names: list[str]
    records: list[Record]
    listings: list[Listing]


def list_sources(sources: Sequence[Path], layout: str, label_map: Sequence[str]) -> Sources:
    """Read the layout of every source, say what was found, and map the labels."""
    if not sources:
        raise UsageError("SOURCE: none given; name a folder of X-rays")
    listings, names = [], []
    for source in sources:
        listing = read_layout(source, layout)
        listings.append(listing)
        names.append(_plain_name(source.absolute()))
        _say_listing(source, listing)
    records = distinct_ids([(n, listing.records) for n, listing in zip(names, listings, strict=True)])
    return Sources(names, map_labels(records, label_map), listings)


def _say_listing(source: Path, listing: Listing) -> None:
    usable = [record for record in listing.records if record.problem is None]
    labels = Counter(record.label for record in usable)
    classes = ", ".join(
        f"{label or 'unlabelled'} {count}" for label, count in sorted(labels.items(), key=str)
    )
    patients = {record.patient_id for record in usable} - {""}
    known = f"{len(patients)} patients" if patients else "patients unknown"
    say(f"prepare: {source}: layout {listing.layout}, {len(usable)} images ({classes}), {known}")
    for note in listing.notes:
        say(f"prepare: {note}")


def source_key(
    listed: Sources, settings: Preprocessing, name: str | None, per_class: int | None, seed: int
) -> str:
    """SHA-256 over all that decides the result without opening an image: the identity of this work."""
    digest = hashlib.sha256()
    head = {"pipeline": PIPELINE, "name": name, "per_class": per_class, "seed": seed, **asdict(settings)}
    digest.update(json.dumps(head, sort_keys=True).encode())
    for record in listed.records:
        facts = {
            **asdict(record),
            "path": os.fsencode(record.path.absolute()).hex(),
            "stamp": stamp(record.path),
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
    for listing in listed.listings:
        if listing.boxes is not None:
            digest.update(listing.boxes.to_csv(index=False).encode())
        for image_id, mask in sorted(listing.masks.items()):
            digest.update(json.dumps([image_id, stamp(mask)]).encode())
    return digest.hexdigest()


def _plain_name(path: Path) -> str:
    """A source's name for ids and files: letters, digits, dot, dash and underscore."""
    name = path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "xrays"
