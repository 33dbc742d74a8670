"""The value of each stored word of DICOM pixel data: bits, sign, overlays, padding (PS3.5, 8.1.1).

Worked out once for every word that occurs, not for every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.dicom.fields import integer

Values = npt.NDArray[np.int64]
MOST_VALUES = 1 << 17


@dataclass(frozen=True)
class Layout:
    """The place of a value in its word: `bits` of them, `shift` above the lowest, in `allocated` bits."""

    allocated: int
    bits: int
    shift: int
    signed: bool

    @property
    def unused(self) -> int:
        """The bits of a word that hold no part of the value."""
        return ((1 << self.allocated) - 1) & ~(((1 << self.bits) - 1) << self.shift)


@dataclass(frozen=True)
class Stored:
    """The words that occur [n], the value of each [n], and which of them are padding [n]."""

    words: Values
    values: Values
    padding: npt.NDArray[np.bool_]
    bits: int
    signed: bool


def stored_values(dataset: Any, words: Values, allocated: int, bits: int, warnings: list[str]) -> Stored:
    """The values of the unsigned `words` [n] that occur. `warnings` is added to where the header lies.

    `bits` are those of a compressed picture's samples, 0 where only the header tells. Raises `DecodeError`.
    """
    layout = _declared(dataset, allocated, bits, warnings)
    cleared = words & ~_overlay_bits(dataset, words, layout, warnings)
    limits = _padding_limits(dataset, layout, warnings)
    beyond = limits is not None and not all(_holds(layout, limit) for limit in limits)
    padding = np.zeros(words.shape, np.bool_)
    if limits is not None and beyond:  # a value that only the whole word can hold
        padding = _between(_whole(words, allocated, layout.signed), limits)
    layout = _believed(cleared[~padding], layout, warnings) if not padding.all() else layout
    values = _extract(cleared, layout)
    if limits is not None and not beyond:
        padding = _between(values, limits)
    if padding.all():
        raise DecodeError("constant", "every pixel is padding")
    used = values[~padding]
    if int(used.max()) - int(used.min()) >= MOST_VALUES:
        raise DecodeError("unsupported_depth", "samples with more than 16 bits")
    return Stored(words, values, padding, layout.bits, layout.signed)


def _declared(dataset: Any, allocated: int, bits: int, warnings: list[str]) -> Layout:
    """Bits and high bit as the header has them, or the nearest that can be."""
    stored = integer(dataset, "BitsStored", allocated)
    if not 1 <= stored <= allocated:
        warnings.append(f"{stored} bits stored do not fit: read as {allocated}")
        stored = allocated
    high = integer(dataset, "HighBit", stored - 1)
    if not stored - 1 <= high < allocated:
        warnings.append(f"high bit {high} does not fit {stored} bits: read as {stored - 1}")
        high = stored - 1
    if 0 < bits < stored:
        warnings.append(f"{stored} bits in the header, {bits} in the compressed picture: read as {bits}")
        stored, high = bits, bits - 1
    return Layout(allocated, stored, high + 1 - stored, integer(dataset, "PixelRepresentation") == 1)


def _overlay_bits(dataset: Any, words: Values, layout: Layout, warnings: list[str]) -> int:
    """The unused bits that hold an overlay (retired in 2004), as a mask."""
    mask = 0
    for group in range(0x6000, 0x6020, 2):
        position = dataset.get((group, 0x0102))
        if position is None or (group, 0x3000) in dataset:
            continue
        mask |= 1 << int(position.value or 0)
    mask &= layout.unused
    if mask and np.any(words & mask):
        warnings.append("an overlay in unused bits was left out")
    return mask


def _padding_limits(dataset: Any, layout: Layout, warnings: list[str]) -> tuple[int, int] | None:
    """The lowest and highest value of padding (PS3.3, C.7.5.1.1.2); None without padding."""
    if dataset.get("PixelPaddingValue") is None or dataset.PixelPaddingValue == "":
        return None
    try:
        first = integer(dataset, "PixelPaddingValue")
        last = integer(dataset, "PixelPaddingRangeLimit", first)
    except (TypeError, ValueError):
        warnings.append("unreadable padding value ignored")
        return None
    low, high = sorted(_as_signed(value, layout) for value in (first, last))
    return low, high


def _as_signed(value: int, layout: Layout) -> int:
    """A header's number with the sign of the pixels: it is often written with the other one."""
    word = value & ((1 << layout.allocated) - 1)
    return word - (1 << layout.allocated) if layout.signed and word >> (layout.allocated - 1) else word


def _holds(layout: Layout, value: int) -> bool:
    half = 1 << (layout.bits - 1)
    return -half <= value < half if layout.signed else 0 <= value < 2 * half


def _between(values: Values, limits: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])


def _whole(words: Values, allocated: int, signed: bool) -> Values:
    """All bits of the words as one number."""
    return words - ((words >> (allocated - 1)) << allocated) if signed else words


def _believed(words: Values, layout: Layout, warnings: list[str]) -> Layout:
    """The layout that the words in use show, where it is not the one that the header declares."""
    used = int(np.bitwise_or.reduce(words))
    high = layout.shift + layout.bits - 1
    above = used >> (high + 1)
    if layout.shift:
        below = used & ((1 << layout.shift) - 1)
        if not above and below and used < 1 << layout.bits:
            warnings.append(f"high bit {high} in the header, not in the pixels: not shifted")
            return Layout(layout.allocated, layout.bits, 0, layout.signed)
        if not above or _extends_sign(words >> layout.shift, layout, layout.allocated - layout.shift):
            warnings.append(f"values shifted by {layout.shift} bits (high bit {high})")
            return layout
    if not above or (layout.signed and _extends_sign(words, layout, layout.allocated)):
        return layout
    free = layout.allocated - layout.bits
    if not layout.shift and used & ((1 << free) - 1) == 0:
        warnings.append(f"values lie above the high bit of the header: shifted by {free} bits")
        return Layout(layout.allocated, layout.bits, free, layout.signed)
    if not layout.signed and _extends_sign(words, layout, layout.allocated):
        warnings.append("unsigned in the header, signed in the pixels: read as signed")
        return Layout(layout.allocated, layout.bits, layout.shift, True)
    warnings.append(f"{layout.bits} bits in the header, more in the pixels: all {layout.allocated} were read")
    return Layout(layout.allocated, layout.allocated, 0, layout.signed)


def _extends_sign(words: Values, layout: Layout, allocated: int) -> bool:
    """Return whether all words are small signed numbers whose unused upper bits repeat the sign."""
    whole, half = _whole(words, allocated, True), 1 << (layout.bits - 1)
    return bool(whole.min() >= -half and whole.max() < half)


def _extract(words: Values, layout: Layout) -> Values:
    values = (words >> layout.shift) & ((1 << layout.bits) - 1)
    return values - ((values >> (layout.bits - 1)) << layout.bits) if layout.signed else values
