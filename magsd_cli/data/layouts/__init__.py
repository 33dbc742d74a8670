"""Layouts of public and private collections of X-rays: one file per layout, the dict at the foot.

A layout is two functions: `recognise(source) -> bool` and `read(source) -> Listing`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from magsd_cli.data.layouts import (
    bimcv,
    chestxray8,
    covid_chestxray,
    csv,
    figure1,
    folder,
    kermany,
    unlabelled,
    v7,
)
from magsd_cli.data.layouts.listing import Listing, Record
from magsd_cli.data.unicode_forms import on_disk
from magsd_cli.errors import NoInputError, UsageError

__all__ = ["LAYOUTS", "Layout", "Listing", "Record", "read_layout"]


@dataclass(frozen=True)
class Layout:
    """A way to recognise a layout and to read it."""

    recognise: Callable[[Path], bool]
    read: Callable[[Path], Listing]
    read_unasked: Callable[[Path], Listing] | None = None  # where `--layout` did not name it


def read_layout(source: Path, layout: str = "auto") -> Listing:
    """List the images of a source (folder, manifest or image) by a named layout or the first that fits.

    Raises `UsageError` for an unknown layout or a manifest that cannot be trusted, `NoInputError` where there
    is nothing to read.
    """
    if layout != "auto" and layout not in LAYOUTS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are auto, {', '.join(LAYOUTS)}"
        raise UsageError(f"--layout {layout}: unknown layout; {hint}")
    source = on_disk(source)
    if not source.exists() and not source.is_symlink():
        raise NoInputError(f"{source}: not found; name a folder of X-rays or an image file")
    if not source.is_dir() and not csv.recognise(source):
        return LAYOUTS["unlabelled"].read(source)
    if layout == "auto":
        layout = next(name for name, known in LAYOUTS.items() if known.recognise(source))
        listing = (LAYOUTS[layout].read_unasked or LAYOUTS[layout].read)(source)
    else:
        listing = LAYOUTS[layout].read(source)
    if not listing.records:
        raise NoInputError(f"{source}: no images here; name a folder of X-rays")
    return listing


# Tried in this order: the known public sets, a manifest, one subfolder per class, else loose images.
LAYOUTS: dict[str, Layout] = {
    "chestxray8": Layout(chestxray8.recognise, chestxray8.read),
    "covid-chestxray": Layout(covid_chestxray.recognise, covid_chestxray.read),
    "v7": Layout(v7.recognise, v7.read),
    "kermany": Layout(kermany.recognise, kermany.read),
    "figure1": Layout(figure1.recognise, figure1.read),
    "bimcv": Layout(bimcv.recognise, bimcv.read),
    "csv": Layout(csv.recognise, csv.read),
    "folder": Layout(folder.recognise, folder.read, folder.read_unasked),
    "unlabelled": Layout(unlabelled.recognise, unlabelled.read),
}
