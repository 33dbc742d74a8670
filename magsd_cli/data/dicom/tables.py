"""Lookup tables of a DICOM header: modality, VOI and palette (PS3.3, C.11.1.1, C.11.2.1.1, C.7.6.3.1.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.pixels.processing import apply_color_lut

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.dicom.fields import is_big_endian

MAX_LUT = 65_536
Numbers = npt.NDArray[Any]


def look_up(item: Any, values: Numbers, big_endian: bool, warnings: list[str]) -> tuple[Numbers, float]:
    """Values through the table of a sequence's item, and the table's highest possible output.

    The table's depth is the declared one, or the one that its values fill where that is another: then
    `warnings` is added to. Raises `DecodeError` where the table does not fit its description.
    """
    entries, first, bits = _description(item.LUTDescriptor, values)
    table = _entries(item.LUTData, entries, big_endian)
    depth = max(8, int(table.max()).bit_length())
    if depth != bits:
        warnings.append(f"a lookup table of {bits} bits whose values fill {depth}: read as {depth}")
    return _through(table, first, values), float((1 << depth) - 1)


def look_up_palette(dataset: Any, values: Numbers) -> npt.NDArray[np.uint8]:
    """Indices [n] through the red, green and blue tables to uint8 [n,3] (R, G, B). Raises `DecodeError`."""
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        wide = apply_color_lut(np.clip(values, 0, MAX_LUT - 1).astype(np.uint16), dataset)
        return np.asarray(wide >> 8 if wide.dtype == np.uint16 else wide, np.uint8)
    columns: list[Numbers] = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset.get(f"{colour}PaletteColorLookupTableDescriptor")
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        if descriptor is None or data is None:
            raise DecodeError("corrupt", "a palette picture without its palette")
        entries, first, _ = _description(descriptor, values)
        columns.append(_through(_entries(data, entries, is_big_endian(dataset)), first, values))
    colours = np.stack(columns, axis=1)
    # Entries of 16 bits often hold only 8, whatever the description says.
    top = 255.0 if colours.max() < 256 else 65_535.0
    return np.round(colours / top * 255.0).astype(np.uint8)


def _description(descriptor: Any, values: Numbers) -> tuple[int, int, int]:
    """Number of entries, the value of the first, and the bits of an entry, of a table's three numbers."""
    entries, first, bits = (int(number) for number in descriptor)
    entries &= 0xFFFF  # read as signed where the pixels are
    if first >= 32_768 and (values.min() < 0 or values.max() < first):
        first -= 65_536  # a negative number, written as unsigned
    return entries or MAX_LUT, first, bits


def _entries(data: Any, entries: int, big_endian: bool) -> Numbers:
    """A table's entries, int64 [entries], stored as numbers, as words or as bytes in words."""
    if isinstance(data, bytes):
        wide = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if big_endian else "<u2")
        if len(wide) >= entries:
            data = wide
        else:  # two entries a word; the words are swapped where the file is big endian
            data = np.frombuffer(wide.astype("<u2").tobytes() + data[len(wide) * 2 :], np.uint8)
    table = np.atleast_1d(np.asarray(data)).astype(np.int64)[:entries] & 0xFFFF
    if len(table) != entries:
        raise DecodeError("corrupt", "a lookup table does not fit its description")
    return table


def _through(table: Numbers, first: int, values: Numbers) -> Numbers:
    """The entry of each value; values before or after the table take its first or last one."""
    positions = np.round(values).astype(np.int64) - first
    return table[np.clip(positions, 0, len(table) - 1)]
