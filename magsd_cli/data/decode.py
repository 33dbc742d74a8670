"""All image input: one file in, one upright 8-bit grayscale picture out, or one coded reason why not.

What a file is comes from its content, never from its name. The bytes are read once, hashed, and judged by
their header before anything is decoded.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.data.decode_error import DecodeError
from magsd_cli.data.dicom.start import dicom_start
from magsd_cli.data.gray import (
    Pixels,
    merge_alpha,
    merge_colours,
    refuse_constant,
    to_eight_bits,
    turn_upright,
)
from magsd_cli.data.headers import ImageHeader, read_header
from magsd_cli.data.two_grays import refuse_mask

__all__ = ["DecodeError", "Decoded", "Header", "decode_image", "read_bytes", "read_image"]

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 50_000_000
MAX_SIDE = 32_767
MIN_SIDE = 16
SMALL_SIDE = 64


@dataclass(frozen=True)
class Header:
    """The facts in a DICOM header about the picture, for grouping and subgroups; "" where unknown.

    `patient_id` and `exam_id` are as in the header: they must be hashed before they are written anywhere.
    """

    patient_id: str = field(default="", repr=False)
    exam_id: str = field(default="", repr=False)
    sex: str = ""
    age: str = ""
    view: str = ""


@dataclass(frozen=True)
class Decoded:
    """A picture: `pixels` uint8 [H,W], the content's hash, what was interpreted, and the header's facts."""

    pixels: Pixels = field(repr=False)
    sha256: str = ""
    warnings: tuple[str, ...] = ()
    meta: Header = field(default_factory=Header)


def read_image(path: Path | str, *, lateral: bool = False) -> Decoded:
    """Read and decode one file. `lateral` allows lateral views, which a DICOM header can tell.

    A mask is refused. Raises `DecodeError` with a code and a reason; never hangs on a FIFO and never trusts
    a header's size.
    """
    data = read_bytes(path)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        decoded = decode_image(data, lateral=lateral)
        refuse_mask(decoded.pixels)
    except DecodeError as error:
        raise DecodeError(error.code, error.reason, sha256, data) from error.__cause__
    return replace(decoded, sha256=sha256)


def decode_image(data: bytes, *, lateral: bool = False) -> Decoded:
    """Decode the bytes of one file. Raises `DecodeError`."""
    if not data:
        raise DecodeError("empty", "the file is empty")
    warnings: list[str] = []
    meta = Header()
    if dicom_start(data) is not None:
        from magsd_cli.data.dicom.read import decode_dicom

        pixels, facts = decode_dicom(data, warnings, check_size=check_size, lateral=lateral)
        meta = Header(**facts)
    else:
        pixels = _decode_picture(data, warnings)
    refuse_constant(pixels)
    if min(pixels.shape) < SMALL_SIDE:
        warnings.append(f"small picture ({pixels.shape[1]}x{pixels.shape[0]} pixels)")
    return Decoded(pixels, warnings=tuple(warnings), meta=meta)


def read_bytes(path: Path | str) -> bytes:
    """The bytes of a regular file, at most `MAX_BYTES`. Raises `DecodeError`; does not wait for a FIFO."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        # A device or FIFO must not even be opened: opening one can have effects, or fail in its own way.
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (the path may be bytes-like odd)
            raise DecodeError("not_a_file", "not a regular file (a folder, a pipe or a device)")
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise DecodeError("not_a_file", "not a regular file (a folder, a pipe or a device)")
            if facts.st_size > MAX_BYTES:
                raise DecodeError(
                    "too_large", f"{facts.st_size / 2**20:.0f} MiB; at most {MAX_BYTES >> 20} are read"
                )
            return file.read(facts.st_size)
    except ValueError as error:
        raise DecodeError("not_found", "not a possible file name") from error
    except OSError as error:
        raise _explain(error, path) from error


def _explain(error: OSError, path: Path | str) -> DecodeError:
    if error.errno == errno.ELOOP:
        return DecodeError("link_loop", "a symbolic link that leads back to itself")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        dangling = os.path.islink(path)  # noqa: PTH114
        return DecodeError("not_found", "a symbolic link to nothing" if dangling else "no such file")
    if isinstance(error, PermissionError):
        return DecodeError("unreadable", "no permission to read it")
    return DecodeError("unreadable", f"cannot be read ({error.strerror or type(error).__name__})")


def check_size(width: int, height: int) -> None:
    """Refuse a picture whose header announces no pixels or too many. Raises `DecodeError`."""
    if width <= 0 or height <= 0:
        raise DecodeError("corrupt", f"the header announces {width}x{height} pixels")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise DecodeError(
            "too_large", f"{width}x{height} pixels; at most {MAX_PIXELS // 10**6} million are decoded"
        )
    if min(width, height) < MIN_SIDE:
        raise DecodeError(
            "too_small", f"{width}x{height} pixels; at least {MIN_SIDE} on each side are needed"
        )


def _decode_picture(data: bytes, warnings: list[str]) -> Pixels:
    header = read_header(data)
    check_size(header.width, header.height)
    _refuse_kind(header)
    samples = _decode_samples(data, header)
    gray: npt.NDArray[Any] = samples if samples.ndim == 2 else _merge_channels(samples, header, warnings)
    if header.palette:
        warnings.append("palette read as gray")
    if gray.dtype == np.uint16:
        refuse_constant(gray)
        if header.white_is_zero:  # OpenCV turns only 8-bit TIFFs of this kind the right way
            gray = np.uint16((1 << header.bits) - 1) - gray
        gray = to_eight_bits(gray, warnings, header.significant_bits)
    elif header.bits < 8:
        warnings.append(f"{header.bits}-bit picture")
    if header.orientation != 1:
        warnings.append(f"turned upright (EXIF orientation {header.orientation})")
    # OpenCV turns TIFFs by itself, whatever the flags.
    return gray if header.format == "TIFF" else turn_upright(gray, header.orientation)


def _refuse_kind(header: ImageHeader) -> None:
    if header.frames > 1:
        raise DecodeError("multi_frame", f"{header.format} with several frames; one picture a file is read")
    if header.is_cmyk:
        raise DecodeError("cmyk", "four ink colours (CMYK); convert it to grayscale")
    if header.is_float:
        raise DecodeError(
            "float_image", "floating-point samples without a defined range; convert to 8 or 16 bits"
        )
    if header.bits > 16:
        raise DecodeError("unsupported_depth", f"{header.bits}-bit samples; convert to 8 or 16 bits")
    if header.missing_codec:
        raise DecodeError(
            "missing_codec", f"{header.missing_codec} has no decoder here; convert it to PNG or DICOM"
        )


def _decode_samples(data: bytes, header: ImageHeader) -> npt.NDArray[Any]:
    """Pixels as stored, not turned: uint8 or uint16, [H,W], [H,W,3] (BGR) or [H,W,4]."""
    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise DecodeError("corrupt", f"the {header.format} data cannot be decoded") from error
    sides = (header.height, header.width)
    turned = header.format == "TIFF" and header.orientation >= 5
    if samples is None or samples.shape[:2] != (sides[::-1] if turned else sides):
        raise DecodeError("corrupt", f"the {header.format} data cannot be decoded")
    if samples.dtype not in (np.uint8, np.uint16):
        raise DecodeError("unsupported_depth", f"{samples.dtype} samples; convert to 8 or 16 bits")
    if samples.ndim == 3 and samples.shape[2] == 1:
        return samples[..., 0]
    return samples


def _merge_channels(samples: npt.NDArray[Any], header: ImageHeader, warnings: list[str]) -> npt.NDArray[Any]:
    gray = merge_colours(samples, warnings)
    if samples.shape[2] == 4 and header.alpha:
        gray = merge_alpha(gray, samples[..., 3], warnings)
    return gray
