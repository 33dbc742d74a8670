"""Loose images without labels: enough to ask a trained network about, not to train one.

Contract: the source is one file, or a folder whose images (at any depth) carry no label. Pictures in folders
of masks, annotations or overlays are no images, as in `folder`.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.folders.mask_pictures import separate
from magsd_cli.data.folders.tree import walk
from magsd_cli.data.layouts.csv import refuse_manifests_below
from magsd_cli.data.layouts.listing import Listing, Record, readable, relative_id


def recognise(source: Path) -> bool:
    """Anything that no other layout recognises."""
    return source.exists()


def read(source: Path) -> Listing:
    """List the images, without labels. Raises `UsageError` where a manifest lies in a folder below."""
    if not source.is_dir():
        return Listing("unlabelled", [Record(path=source, image_id=readable(source.name))])
    tree = walk(source)
    refuse_manifests_below(tree)
    found = separate(source, tree.files)
    records = [Record(path=path, image_id=relative_id(path, source)) for path, _ in found.films]
    return Listing(
        "unlabelled",
        records + found.rest,
        masks=dict(found.masks),
        mask_kind=found.mask_kind,
        notes=found.notes + _unread_folders(source, [path for path, _ in found.films]),
        left_out=tree.without(),
    )


def _unread_folders(source: Path, files: list[Path]) -> list[str]:
    """A sentence about folders whose names could have been meant as classes; [] where there is none."""
    inside = {path.parent.relative_to(source).parts for path in files} - {()}
    tops = sorted({names[0] for names in inside})
    below = sorted({names[1] for names in inside if len(names) > 1})
    if len(tops) >= 2:
        return [f"{source}: the names of {len(tops)} folders are not labels; --layout folder takes them"]
    if len(tops) == 1 and len(below) >= 2:
        return [f"{source}: one folder; if those in it are classes, name {source / tops[0]}"]
    return []
