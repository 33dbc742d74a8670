"""DICOM radiographs: modality LUT, VOI LUT or window, then MONOCHROME1; and the few header facts that matter.

No text of a header may reach a message: pydicom's own warnings and errors quote it, so they are caught here
and replaced by our words.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import threading
import warnings as python_warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.gray import Pixels, merge_colours, used_depth

logging.getLogger("pydicom").addHandler(logging.NullHandler())


logging.getLogger("pydicom").propagate = False


RADIOGRAPHS = {"CR", "DX", "DR", "RG", "XR", "OT", "SC", "RF", "PX", "IO", "MG", ""}


SLICES = {"CT", "MR", "PT", "NM"}


LATERAL = re.compile(r"^(LL|RL|L|LAT|LATERAL|LLD|RLD|LEFT LATERAL|RIGHT LATERAL)$")


FRONTAL = {"PA": "PA", "AP": "AP", "APS": "AP", "AP SUPINE": "AP", "AP ERECT": "AP"}


MAX_LUT = 65_536


MOST_VALUES = 1 << 17


# Packages for what python-gdcm does not decode.
PACKAGES = {
    uid.JPEGExtended12Bit: "pylibjpeg pylibjpeg-libjpeg",
    **dict.fromkeys((uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL), "pylibjpeg pylibjpeg-openjpeg"),
}


# pydicom reports through Python's warnings; muting them is not thread-safe, so one file is read at a time.
_one_at_a_time = threading.Lock()


def decode_dicom(
    data: bytes, warnings: list[str], check_size: Callable[[int, int], None], lateral: bool
) -> tuple[Pixels, dict[str, str]]:
    """The pixels (uint8 [H,W], white is dense) and the header's facts (`patient_id`, `exam_id`, `sex`, ...).

    `warnings` is added to. Raises `DecodeError`; whatever pydicom raises becomes one of our codes.
    """
    with _one_at_a_time, python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        try:
            return _decode(data, warnings, check_size, lateral)
        except DecodeError:
            raise
        except MemoryError:
            raise DecodeError("too_large", "not enough memory to decode it") from None
        except Exception:  # pydicom raises nearly anything on damage, and quotes the header in it
            raise DecodeError("corrupt", "damaged DICOM file") from None


def _decode(
    data: bytes, warnings: list[str], check_size: Callable[[int, int], None], lateral: bool
) -> tuple[Pixels, dict[str, str]]:
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=data[128:132] != b"DICM")
    except EOFError:
        raise DecodeError("truncated", "the DICOM file ends too early") from None
    facts = read_facts(dataset)
    _refuse_kind(dataset, facts["view"], lateral)
    check_size(_integer(dataset, "Columns"), _integer(dataset, "Rows"))
    samples = _samples(dataset, warnings)
    if samples.ndim == 3:
        return merge_colours(samples[..., ::-1].copy(), warnings).astype(np.uint8), facts
    pixels = _to_display(dataset, samples, warnings)
    if _text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        warnings.append("MONOCHROME1 inverted")
        pixels = 255 - pixels
    return pixels, facts


def read_facts(dataset: Any) -> dict[str, str]:
    """Patient and exam id as they stand, and sex, age, view in a closed vocabulary ("" where unknown)."""
    sex = _text(dataset, "PatientSex").upper()
    age = re.fullmatch(r"0*(\d{1,3})([YMWD]?)", _text(dataset, "PatientAge").upper())
    years = ""
    if age:
        number, unit = int(age[1]), age[2] or "Y"
        years = str(number if unit == "Y" else int(number / {"M": 12, "W": 52, "D": 365}[unit]))
    view = _text(dataset, "ViewPosition").upper()
    return {
        "patient_id": _text(dataset, "PatientID"),
        "exam_id": _text(dataset, "StudyInstanceUID"),
        "sex": sex if sex in ("F", "M") else "",
        "age": years,
        "view": "L" if LATERAL.match(view) else FRONTAL.get(view, ""),
    }


def _refuse_kind(dataset: Any, view: str, lateral: bool) -> None:
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if "Rows" not in dataset and "SOPClassUID" not in dataset:
            raise DecodeError("not_image", "not a readable DICOM file")
        raise DecodeError("no_pixels", "a DICOM file without pixel data")
    if "PixelData" not in dataset:
        raise DecodeError("float_image", "floating-point pixel data without a defined range")
    modality = _text(dataset, "Modality").upper()
    if modality in SLICES:
        raise DecodeError("ct_slice", "a slice of a CT, MR, PET or NM exam, not a radiograph")
    if modality not in RADIOGRAPHS:
        raise DecodeError("not_xray", "another modality than radiography")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise DecodeError("multi_frame", "several frames; one picture a file is read")
    if view == "L" and not lateral:
        raise DecodeError("lateral_view", "a lateral view; frontal ones are used (--view all allows it)")


def _samples(dataset: Any, warnings: list[str]) -> npt.NDArray[Any]:
    """Stored values: [H,W] integers, or [H,W,3] uint8 RGB."""
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        warnings.append("no transfer syntax in the file: read as uncompressed")
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise DecodeError("missing_codec", "an unknown transfer syntax")
    if syntax.is_encapsulated or syntax.is_compressed:
        _need_codec(syntax, _integer(dataset, "BitsStored"))
        _refuse_cut_jpeg(dataset)
    try:
        samples = pixel_array(dataset, index=0 if syntax.is_encapsulated else None)
    except Exception:
        raise _pixel_error(dataset, syntax) from None
    if samples.ndim == 3 and samples.shape[-1] not in (3,):
        # Pixel data that is too long: pydicom reads a frame too many and only warns.
        warnings.append("more pixel data than one frame; the first was read")
        samples = samples[0]
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    if samples.shape[:2] != (rows, columns):
        raise DecodeError("corrupt", "the pixel data does not fit the header's size")
    if samples.ndim == 3 and samples.dtype != np.uint8:
        raise DecodeError("not_grayscale", "a colour picture with more than 8 bits")
    return samples


def _need_codec(syntax: Any, bits: int) -> None:
    """Raise `DecodeError` naming the package that is missing for a compressed transfer syntax."""
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        return
    try:
        plugins = get_decoder(syntax).available_plugins
    except NotImplementedError:
        raise DecodeError("missing_codec", f"no decoder for {syntax.name}; convert the file") from None
    if syntax == uid.JPEGExtended12Bit and bits > 8:
        plugins = tuple(name for name in plugins if name == "pylibjpeg")
    if not plugins:
        package = PACKAGES.get(syntax, "python-gdcm")
        raise DecodeError("missing_codec", f"no decoder for {syntax.name} here; `pip install {package}`")
    with contextlib.suppress(ImportError):
        gdcm = importlib.import_module("gdcm")
        gdcm.Trace.WarningOff()  # it would write what it finds in headers to stderr
        gdcm.Trace.ErrorOff()


def _refuse_cut_jpeg(dataset: Any) -> None:
    """Decoders fill a cut JPEG with gray; notice that its end mark is missing."""
    frame = next(iter(generate_frames(dataset.PixelData, number_of_frames=1)), b"")
    if frame.startswith(b"\xff\xd8") and b"\xff\xd9" not in frame[-64:]:
        raise DecodeError("truncated", "the compressed picture ends before its end mark")


def _pixel_error(dataset: Any, syntax: Any) -> DecodeError:
    if not syntax.is_encapsulated:
        bits = _integer(dataset, "BitsAllocated")
        samples = (
            _integer(dataset, "Rows") * _integer(dataset, "Columns") * _integer(dataset, "SamplesPerPixel")
        )
        if len(dataset.PixelData or b"") < samples * bits // 8:
            return DecodeError("truncated", "less pixel data than the header announces")
    return DecodeError("corrupt", "the pixel data cannot be decoded")


def _to_display(dataset: Any, samples: npt.NDArray[Any], warnings: list[str]) -> Pixels:
    """The shade 0..255 of each stored value [H,W], worked out once for every value that occurs."""
    first, last = int(samples.min()), int(samples.max())
    if last - first >= MOST_VALUES:
        raise DecodeError("unsupported_depth", "samples with more than 16 bits")
    shades = _grade(dataset, np.arange(first, last + 1), warnings)
    return shades[samples.astype(np.int32) - first]


def _grade(dataset: Any, samples: npt.NDArray[Any], warnings: list[str]) -> Pixels:
    """Modality LUT, then VOI LUT or window, then 0..255, of the stored values `samples` (any shape)."""
    low, high = _stored_range(dataset, samples)
    if dataset.get("ModalityLUTSequence"):
        values, high = _look_up(dataset.ModalityLUTSequence[0], samples)
        low = 0.0
    else:
        slope, intercept = _number(dataset, "RescaleSlope", 1.0), _number(dataset, "RescaleIntercept", 0.0)
        if slope == 0:
            slope, intercept = 1.0, 0.0
            warnings.append("rescale slope 0 ignored")
        values = samples * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if dataset.get("VOILUTSequence"):
        values, high = _look_up(dataset.VOILUTSequence[0], values)
        return _spread(values, 0.0, high)
    windowed = _window(dataset, values, warnings)
    if windowed is not None:
        return windowed
    if high > 255 or low < 0:
        warnings.append(f"no window in the file: {int(low)} to {int(high)} shown as black to white")
    return _spread(values, low, high)


def _look_up(item: Any, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], float]:
    """PS3.3 C.11.1.1 and C.11.2.1.1: values through a table, and the table's highest possible output.

    pydicom's own `apply_voi` fails on tables with one byte an entry.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries, first = entries or MAX_LUT, first - 65_536 if first >= 32_768 and values.min() < 0 else first
    data = item.LUTData
    if isinstance(data, bytes):
        kind = np.dtype(np.uint8 if len(data) < 2 * entries else np.uint16)
        data = np.frombuffer(data[: entries * kind.itemsize], kind)
    table = np.asarray(data, np.float64)[:entries]
    if len(table) != entries or not 8 <= bits <= 16:
        raise DecodeError("corrupt", "a lookup table does not fit its description")
    return table[np.clip(np.round(values).astype(np.int64) - first, 0, entries - 1)], float((1 << bits) - 1)


def _stored_range(dataset: Any, samples: npt.NDArray[Any]) -> tuple[float, float]:
    """The range that stored values can have: by the bits declared, or those in use where 16 are declared."""
    bits = min(max(_integer(dataset, "BitsStored") or 8, 1), 16)
    if _integer(dataset, "PixelRepresentation") == 1:
        return float(samples.min()), float(samples.max())
    highest = int(samples.max())
    if bits == 16 or highest >= 1 << bits:
        bits = used_depth(highest)
    return 0.0, float((1 << bits) - 1)


def _window(dataset: Any, values: npt.NDArray[Any], warnings: list[str]) -> Pixels | None:
    """PS3.3 C.11.2.1.2: the first window, LINEAR, LINEAR_EXACT or SIGMOID, to 0..255; None without one."""
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return None
    centre, width = _number(dataset, "WindowCenter", 0.0), _number(dataset, "WindowWidth", 0.0)
    function = _text(dataset, "VOILUTFunction").upper() or "LINEAR"
    if width < 1 or (function == "LINEAR" and width == 1):
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


def _text(dataset: Any, name: str) -> str:
    value = dataset.get(name)
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return ""
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0]
    return str(value).strip()


def _integer(dataset: Any, name: str) -> int:
    value = dataset.get(name)
    return int(value) if value is not None else 0


def _number(dataset: Any, name: str, default: float) -> float:
    value = dataset.get(name)
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if len(value) else None
    number = default if value is None else float(value)
    if not np.isfinite(number):
        raise DecodeError("corrupt", "a number in the DICOM header is not finite")
    return number
