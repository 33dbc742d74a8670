"""Loose images without labels: enough to ask a trained network about, not to train one.

Contract: the source is one file, or a folder whose images (at any depth) carry no label.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.layouts.listing import Listing, Record, list_files, readable, relative_id


def recognise(source: Path) -> bool:
    """Anything that no other layout recognises."""
    return source.exists()


def read(source: Path) -> Listing:
    """List the images, without labels."""
    if not source.is_dir():
        return Listing("unlabelled", [Record(path=source, image_id=readable(source.name))])
    records = [Record(path=p, image_id=relative_id(p, source)) for p in list_files(source)]
    return Listing("unlabelled", records)
