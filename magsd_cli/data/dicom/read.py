"""Radiographs in DICOM files: their facts, what is refused by them, the picture that a viewer would show.

No text of a header may reach a message: pydicom's own warnings and errors quote it, so they are caught here
and replaced by our words.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings as python_warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom import uid
from pydicom.pixels.processing import convert_color_space

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.dicom.fields import integer, keyword, text
from magsd_cli.data.dicom.grading import grade
from magsd_cli.data.dicom.start import PREAMBLE, dicom_start
from magsd_cli.data.dicom.stream import Pixeldata, read_pixels
from magsd_cli.data.dicom.view import other_part, view_of
from magsd_cli.data.gray import MOST_TINTED, Pixels, merge_colours, thin_out

logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False

RADIOGRAPHS = {"CR", "DX", "DR", "RG", "XR", "OT", "SC", "RF", "PX", "IO", "MG", ""}
SLICES = {"CT", "MR", "PT", "NM"}
FOR_PROCESSING = {
    uid.DigitalXRayImageStorageForProcessing,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.DigitalIntraOralXRayImageStorageForProcessing,
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
    dataset = read_dataset(data)
    facts = read_facts(dataset, warnings)
    _refuse_kind(dataset, facts["view"], warnings, lateral)
    check_size(integer(dataset, "Columns"), integer(dataset, "Rows"))
    found = read_pixels(dataset, warnings)
    if found.samples.ndim == 3:
        return _merge(_as_rgb(found, warnings), warnings), facts
    pixels = grade(dataset, found.samples, found.bits, warnings)
    if pixels.ndim == 3:
        warnings.append("palette colours read as gray")
        pixels = _merge(pixels, warnings)
    return pixels, facts


def read_dataset(data: bytes, header_only: bool = False) -> Any:
    """The data set in the bytes of a DICOM file, with or without its pixels. Raises `DecodeError`, and what
    pydicom raises.
    """
    start = dicom_start(data) or 0
    standard = data[PREAMBLE : PREAMBLE + 4] == b"DICM"
    try:
        content = io.BytesIO(data[start:] if start else data)
        return pydicom.dcmread(content, force=not standard, stop_before_pixels=header_only)
    except EOFError:
        raise DecodeError("truncated", "the DICOM file ends too early") from None


def _merge(colours: Any, warnings: list[str]) -> Pixels:
    return merge_colours(cv2.cvtColor(np.ascontiguousarray(colours), cv2.COLOR_RGB2BGR), warnings)


def _as_rgb(found: Pixeldata, warnings: list[str]) -> Any:
    """Decoded colours [H,W,3] as R, G, B: by the header's colour space, or the other where only that is gray.

    Radiographs are gray, so the one of the two spaces in which they are is the right one.
    """
    in_ycbcr = found.colours in ("YBR_FULL", "YBR_FULL_422")
    sketch = thin_out(found.samples).astype(np.uint8)
    declared = _tint(_from_ycbcr(sketch) if in_ycbcr else sketch)
    if declared > MOST_TINTED and _tint(sketch if in_ycbcr else _from_ycbcr(sketch)) < declared / 4:
        said, meant = ("YCbCr", "RGB") if in_ycbcr else ("RGB", "YCbCr")
        warnings.append(f"{said} in the header, {meant} in the pixels, which is gray: read as {meant}")
        in_ycbcr = not in_ycbcr
    return _from_ycbcr(found.samples) if in_ycbcr else found.samples


def _from_ycbcr(colours: Any) -> Any:
    return convert_color_space(colours, "YBR_FULL", "RGB")


def _tint(colours: Any) -> float:
    """The mean spread between the channels of a pixel."""
    first, second, third = (colours[..., channel] for channel in range(3))
    highest = np.maximum(np.maximum(first, second), third)
    return float((highest - np.minimum(np.minimum(first, second), third)).mean())


def read_facts(dataset: Any, warnings: list[str]) -> dict[str, str]:
    """Patient and exam id as they stand, and sex, age, view in a closed vocabulary ("" where unknown)."""
    sex = text(dataset, "PatientSex").upper()
    age = re.fullmatch(r"0*(\d{1,3})([YMWD]?)", text(dataset, "PatientAge").upper())
    years = ""
    if age:
        number, unit = int(age[1]), age[2] or "Y"
        years = str(number if unit == "Y" else int(number / {"M": 12, "W": 52, "D": 365}[unit]))
    return {
        "patient_id": text(dataset, "PatientID"),
        "exam_id": text(dataset, "StudyInstanceUID"),
        "sex": sex if sex in ("F", "M") else "",
        "age": years,
        "view": view_of(dataset, warnings),
    }


def _refuse_kind(dataset: Any, view: str, warnings: list[str], lateral: bool) -> None:
    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if "Rows" not in dataset and "SOPClassUID" not in dataset:
            raise DecodeError("not_image", "not a readable DICOM file")
        raise DecodeError("no_pixels", "a DICOM file without pixel data")
    if "PixelData" not in dataset:
        raise DecodeError("float_image", "floating-point pixel data without a defined range")
    refuse_by_header(dataset, view, warnings, lateral)


def refuse_by_header(dataset: Any, view: str, warnings: list[str], lateral: bool) -> None:
    """Raise `DecodeError` for a header, with or without pixels behind it, that is not a chest radiograph's.

    view: as `view_of` has it; `lateral` allows lateral ones. `warnings` is added to.
    """
    modality = text(dataset, "Modality").upper()
    if modality in SLICES:
        raise DecodeError("ct_slice", "a slice of a CT, MR, PET or NM exam, not a radiograph")
    if modality not in RADIOGRAPHS:
        raise DecodeError("not_xray", "a modality other than radiography")
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise DecodeError("multi_frame", "several frames; one picture a file is read")
    intent = keyword(dataset, "PresentationIntentType")
    if intent == "FORPROCESSING" or (not intent and text(dataset, "SOPClassUID") in FOR_PROCESSING):
        raise DecodeError(
            "for_processing", "raw detector data (FOR PROCESSING); use the picture made from them"
        )
    if other_part(dataset, warnings):
        raise DecodeError("other_body_part", "the header names a body part other than the chest")
    if view == "L" and not lateral:
        raise DecodeError("lateral_view", "a lateral view; frontal ones are used (--view all allows it)")
