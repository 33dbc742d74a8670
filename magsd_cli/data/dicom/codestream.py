"""Facts about a compressed picture from its first bytes, whatever the DICOM header around it says."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import Any

from pydicom import uid

from magsd_cli.data.decode_error import DecodeError

JP2 = b"\x00\x00\x00\x0cjP"
J2K = b"\xff\x4f\xff\x51"
JPEG, END_OF_JPEG = b"\xff\xd8", b"\xff\xd9"
JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL")


@dataclass(frozen=True)
class Stream:
    """The facts in a compressed picture's first bytes; a precision or size of 0 is not stated."""

    syntax: Any
    precision: int = 0
    signed: bool = False
    height: int = 0
    width: int = 0


def sniff(frame: bytes) -> Stream | None:
    """Read the first bytes of a compressed frame; None where they are not known. Raises `DecodeError`."""
    if frame.startswith((J2K, JP2)):
        start = frame.find(J2K)
        header = frame[start : start + 4096]
        with contextlib.suppress(struct.error, IndexError):
            # A CAP marker (FF50) follows where the high-throughput coder was used (ITU-T T.814).
            after = start + 4 + struct.unpack(">H", header[4:6])[0]
            high_throughput = frame[after : after + 2] == b"\xff\x50"
            kind = uid.HTJ2K if high_throughput else uid.JPEG2000
            right, bottom, left, top = struct.unpack(">4I", header[8:24])
            depth = header[42]
            return Stream(kind, (depth & 0x7F) + 1, depth >= 0x80, bottom - top, right - left)
        return None
    if frame.startswith(JPEG_XL):
        raise DecodeError("missing_codec", "no decoder for JPEG XL; convert the file")
    if frame.startswith(JPEG):
        return _sniff_jpeg(frame)
    if len(frame) >= 64:
        count, first, *offsets = struct.unpack("<16I", frame[:64])
        if 1 <= count <= 15 and first == 64 and not any(offsets[count - 1 :]):
            return Stream(uid.RLELossless)
    return None


def _sniff_jpeg(frame: bytes) -> Stream | None:
    """Baseline, extended, lossless or JPEG-LS by the frame marker; progressive counts as baseline."""
    position, frame_at = 2, 0
    while position + 5 <= len(frame):
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        length = int.from_bytes(frame[position + 2 : position + 4], "big")
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            frame_at = position
        if marker == 0xDA:
            # After the components: the predictor of lossless JPEG, the error allowed in JPEG-LS.
            choice = frame[position + 5 + 2 * frame[position + 4]]
            return _jpeg_stream(frame, frame_at, choice) if frame_at else None
        position += 2 + length
    return None


def _jpeg_stream(frame: bytes, start: int, choice: int) -> Stream | None:
    """Read the frame marker at `start`; `choice` is the predictor or the error allowed."""
    marker = frame[start + 1]
    precision, height, width = struct.unpack(">BHH", frame[start + 4 : start + 9])
    if marker == 0xF7:
        syntax = uid.JPEGLSNearLossless if choice else uid.JPEGLSLossless
    elif marker == 0xC3:
        syntax = uid.JPEGLosslessSV1 if choice == 1 else uid.JPEGLossless
    elif marker in (0xC0, 0xC1, 0xC2):
        syntax = uid.JPEGBaseline8Bit if precision == 8 else uid.JPEGExtended12Bit
    else:
        return None
    return Stream(syntax, precision, False, height, width)
