"""DICOM values become shades: modality LUT, then VOI LUT or window, then 0..255 (PS3.3, C.11)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.dicom.fields import is_big_endian, keyword, number, text
from magsd_cli.data.dicom.tables import look_up, look_up_palette
from magsd_cli.data.dicom.values import Stored, stored_values
from magsd_cli.data.gray import Pixels, used_depth

Words = npt.NDArray[Any]
INVERTED, PLAIN, PALETTE = "MONOCHROME1", "MONOCHROME2", "PALETTECOLOR"
SHAPES = {"IDENTITY": PLAIN, "INVERSE": INVERTED}


def grade(dataset: Any, words: Words, bits: int, warnings: list[str]) -> Pixels:
    """Unsigned words [H,W] to shades 0..255, white is dense: [H,W] uint8, or [H,W,3] (R, G, B) of a palette.

    `bits` are those of a compressed picture's samples, 0 where only the header tells. Each word that occurs
    is worked out once. `warnings` is added to. Raises `DecodeError`.
    """
    kind = keyword(dataset, "PhotometricInterpretation")
    _refuse_unknown(kind, text(dataset, "PhotometricInterpretation"))
    if words.dtype.itemsize > 2:
        occurring, positions = np.unique(words, return_inverse=True)
        shades = _shades(dataset, kind, occurring.astype(np.int64), words, bits, warnings)
        return shades[positions.reshape(words.shape)]
    occurring = np.flatnonzero(_histogram(words))
    shades = _shades(dataset, kind, occurring, words, bits, warnings)
    table = np.zeros((1 << 8 * words.dtype.itemsize, *shades.shape[1:]), np.uint8)
    table[occurring] = shades
    if words.dtype == np.uint8 and shades.ndim == 1:
        return np.asarray(cv2.LUT(words, table), np.uint8)  # several times as fast
    return np.asarray(table[words], np.uint8)


def _histogram(words: Words) -> npt.NDArray[Any]:
    values = 1 << 8 * words.dtype.itemsize
    return np.asarray(cv2.calcHist([words], [0], None, [values], [0, values])).ravel()


def _refuse_unknown(kind: str, written: str) -> None:
    if kind in (PLAIN, INVERTED, PALETTE):
        return
    if not written:
        raise DecodeError("corrupt", "no photometric interpretation: black may mean air or bone")
    raise DecodeError("not_grayscale", "one sample a pixel, but neither MONOCHROME1 or 2 nor a palette")


def _shades(
    dataset: Any, kind: str, occurring: npt.NDArray[np.int64], words: Words, bits: int, warnings: list[str]
) -> Pixels:
    """The shade of each word that occurs: [n], or [n,3] of a palette."""
    stored = stored_values(dataset, occurring, 8 * words.dtype.itemsize, bits, warnings)
    if kind == PALETTE:
        return look_up_palette(dataset, stored.values)
    shades = np.zeros(occurring.shape, np.uint8)
    seen = ~stored.padding
    shades[seen] = _grade(dataset, stored, stored.values[seen], warnings)
    shape = keyword(dataset, "PresentationLUTShape")
    if SHAPES.get(shape, kind) != kind:
        warnings.append(
            "the presentation LUT shape contradicts the photometric interpretation: the latter used"
        )
    if kind == INVERTED:
        warnings.append("MONOCHROME1 inverted")
        shades[seen] = 255 - shades[seen]
    if stored.padding.any():
        share = float(np.isin(words, occurring[stored.padding]).mean())
        warnings.append(f"pixel padding ({share:.1%} of the picture) shown black")
    return shades


def _grade(dataset: Any, stored: Stored, samples: npt.NDArray[Any], warnings: list[str]) -> Pixels:
    """Modality LUT, then VOI LUT or window, then 0..255, of the stored values `samples` [n]."""
    low, high = _stored_range(stored, samples)
    big_endian = is_big_endian(dataset)
    if dataset.get("ModalityLUTSequence"):
        values, high = look_up(dataset.ModalityLUTSequence[0], samples, big_endian, warnings)
        low = 0.0
    else:
        slope, intercept = number(dataset, "RescaleSlope", 1.0), number(dataset, "RescaleIntercept", 0.0)
        if slope == 0:
            slope, intercept = 1.0, 0.0
            warnings.append("rescale slope 0 ignored")
        values = samples * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if dataset.get("VOILUTSequence"):
        values, high = look_up(dataset.VOILUTSequence[0], values, big_endian, warnings)
        return _spread(values, 0.0, high)
    windowed = _window(dataset, values, warnings)
    if windowed is not None:
        return windowed
    if high > 255 or low < 0:
        warnings.append(f"no window in the file: {int(low)} to {int(high)} shown as black to white")
    return _spread(values, low, high)


def _stored_range(stored: Stored, samples: npt.NDArray[Any]) -> tuple[float, float]:
    """The range that stored values can have: by the bits declared, or those in use where 16 are declared."""
    if stored.signed:
        return float(samples.min()), float(samples.max())
    highest = int(samples.max())
    bits = min(stored.bits, 16)
    if bits == 16 or highest >= 1 << bits:
        bits = used_depth(highest)
    return 0.0, float((1 << bits) - 1)


def _window(dataset: Any, values: npt.NDArray[Any], warnings: list[str]) -> Pixels | None:
    """PS3.3 C.11.2.1.2: the first window, LINEAR, LINEAR_EXACT or SIGMOID, to 0..255; None without one."""
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return None
    try:
        centre, width = number(dataset, "WindowCenter", 0.0), number(dataset, "WindowWidth", 0.0)
    except (DecodeError, ValueError, TypeError):  # "NaN", or no number at all
        centre = width = 0.0
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    if function == "LINEAR" and 0 < width < 1:
        warnings.append("a linear window narrower than 1 read as LINEAR_EXACT")
        function = "LINEAR_EXACT"
    if width <= 0 or (function == "LINEAR" and width == 1):
        warnings.append("unusable window ignored")
        return None
    if function == "SIGMOID":
        return np.round(255.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))).astype(np.uint8)
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1.0
    low, high = centre - width / 2, centre + width / 2
    if values.max() <= low or values.min() >= high:
        warnings.append("window outside the values ignored")
        return None
    return _spread(values, low, high)


def _spread(values: npt.NDArray[Any], low: float, high: float) -> Pixels:
    """Linear from [low, high] to 0..255, clipped."""
    scaled = (values - low) / (high - low) * 255.0
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)
