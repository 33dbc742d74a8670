"""Headers of PNG, JPEG, TIFF, BMP and WebP files, read before anything is decoded.

The decoders behind OpenCV believe a header's size, fill a cut JPEG with gray and say nothing; so size,
completeness, depth, colour and orientation are taken from the bytes here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from magsd_cli.data.decode_error import DecodeError


@dataclass(frozen=True)
class ImageHeader:
    """The facts in a file's header. `orientation` is EXIF's 1..8; `bits` are those of one sample."""

    format: str
    width: int
    height: int
    bits: int = 8
    orientation: int = 1
    frames: int = 1
    alpha: bool = False
    palette: bool = False
    is_float: bool = False
    is_cmyk: bool = False
    white_is_zero: bool = False
    significant_bits: int | None = None
    missing_codec: str | None = None


def read_header(data: bytes) -> ImageHeader:
    """The header of an image file by its content. Raises `DecodeError`: not_image, truncated, corrupt, ..."""
    for magic, reader in READERS.items():
        if data.startswith(magic) and not (magic == b"RIFF" and data[8:12] != b"WEBP"):
            try:
                return reader(data)
            except (struct.error, IndexError) as error:
                raise DecodeError("truncated", "the file ends inside its header") from error
    raise DecodeError(*_foreign(data))


def _foreign(data: bytes) -> tuple[str, str]:
    known = {b"GIF8": "GIF", b"%PDF": "PDF", b"PK\x03\x04": "ZIP", b"\x1f\x8b": "gzip", b"II+\x00": "BigTIFF"}
    known |= {b"MM\x00+": "BigTIFF", b"\x00\x00\x00\x0cjP": "JPEG 2000", b"\x93NUMPY": "NumPy"}
    for magic, name in known.items():
        if data.startswith(magic):
            return "unsupported_format", f"a {name} file; convert it to PNG or DICOM"
    return "not_image", "not a PNG, JPEG, TIFF, BMP, WebP or DICOM file"


_CHUNK = struct.Struct(">I4s")  # of a PNG: the length of its body, its kind


def _read_png(data: bytes) -> ImageHeader:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise DecodeError("truncated", "the PNG ends inside its header")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    chunks: dict[bytes, bytes] = {}
    position = 8
    while True:
        if position + 12 > len(data):
            raise DecodeError("truncated", "the PNG ends before its end mark")
        length, kind = _CHUNK.unpack_from(data, position)
        start, end = position, position + 8 + length
        position = end + 4
        if position > len(data):
            raise DecodeError("truncated", "the PNG ends inside a chunk")
        if kind == b"IDAT":  # the decoder checks the picture data's own sums; the other chunks it lets pass
            continue
        body = data[start + 4 : end]
        if zlib.crc32(body) != int.from_bytes(data[end:position], "big"):
            raise DecodeError("corrupt", "a checksum of the PNG does not match its content")
        if kind == b"IEND":
            break
        chunks.setdefault(kind, body[4:])
    frames = struct.unpack(">I", chunks[b"acTL"][:4])[0] if len(chunks.get(b"acTL", b"")) >= 4 else 1
    significant = max(chunks[b"sBIT"]) if chunks.get(b"sBIT") else None
    return ImageHeader(
        format="PNG",
        width=width,
        height=height,
        bits=8 if colour == 3 else bits,
        orientation=_exif_orientation(chunks.get(b"eXIf", b"")),
        frames=frames,
        alpha=colour in (4, 6) or b"tRNS" in chunks,
        palette=colour == 3,
        significant_bits=significant,
    )


def _read_jpeg(data: bytes) -> ImageHeader:
    position, orientation, frame = 2, 1, None
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:
            position += 1
        if data[position] != 0xFF:
            raise DecodeError("corrupt", "the JPEG's segments do not follow each other")
        marker = data[position + 1]
        if marker == 0xD9:
            raise DecodeError("truncated", "the JPEG holds no picture data")
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        body = data[position + 4 : position + 2 + length]
        if marker == 0xE1 and body.startswith(b"Exif\x00\x00"):
            orientation = _exif_orientation(body[6:])
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            frame = (marker, *struct.unpack(">BHHB", body[:6]))
        position += 2 + length
        if marker == 0xDA:
            break
    if frame is None:
        raise DecodeError("corrupt", "the JPEG describes no frame before its data")
    if data.rfind(b"\xff\xd9", position) < 0:
        raise DecodeError("truncated", "the JPEG ends before its end mark")
    kind, bits, height, width, components = frame
    return ImageHeader(
        format="JPEG",
        width=width,
        height=height,
        bits=bits,
        orientation=orientation,
        is_cmyk=components == 4,
        missing_codec=_jpeg_codec(kind, bits),
    )


def _jpeg_codec(marker: int, bits: int) -> str | None:
    if marker == 0xF7:
        return "JPEG-LS"
    if marker in (0xC3, 0xC7, 0xCB, 0xCF):
        return "lossless JPEG"
    return f"{bits}-bit JPEG" if bits != 8 else None


def _read_bmp(data: bytes) -> ImageHeader:
    offset, head = struct.unpack("<II", data[10:18])
    width, height, _, bits = struct.unpack(
        "<iiHH" if head >= 40 else "<hhHH", data[18 : 30 if head >= 40 else 26]
    )
    compression = struct.unpack("<I", data[30:34])[0] if head >= 40 else 0
    needed = offset + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if compression in (0, 3) and len(data) < needed:
        raise DecodeError("truncated", "the BMP holds fewer pixels than its header announces")
    return ImageHeader("BMP", max(width, 0), abs(height))


def _read_webp(data: bytes) -> ImageHeader:
    if len(data) < 8 + struct.unpack("<I", data[4:8])[0]:
        raise DecodeError("truncated", "the WebP file is shorter than its header announces")
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return ImageHeader("WebP", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (packed,) = struct.unpack("<I", data[21:25])
        return ImageHeader(
            "WebP", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, alpha=bool(packed >> 28 & 1)
        )
    if kind != b"VP8X":
        raise DecodeError("corrupt", "the WebP file holds no picture")
    flags = data[20]
    width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    exif = data.find(b"EXIF", 30) if flags & 0x08 else -1
    start = exif + 8 + (6 if data[exif + 8 : exif + 14] == b"Exif\x00\x00" else 0)
    return ImageHeader(
        format="WebP",
        width=width,
        height=height,
        orientation=_exif_orientation(data[start:]) if exif > 0 else 1,
        frames=2 if flags & 0x02 else 1,
        alpha=bool(flags & 0x10),
    )


def _read_tiff(data: bytes) -> ImageHeader:
    pages = [tags for tags in _tiff_directories(data) if not tags.get(254, (0,))[0] & 1]
    if not pages:
        raise DecodeError("corrupt", "the TIFF describes no picture")
    tags = pages[0]
    for offsets, counts in ((273, 279), (324, 325)):
        ends = [a + b for a, b in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)]
        if max(ends, default=0) > len(data):
            raise DecodeError("truncated", "the TIFF ends before its pixels do")
    photometric = tags.get(262, (1,))[0]
    return ImageHeader(
        format="TIFF",
        width=tags.get(256, (0,))[0],
        height=tags.get(257, (0,))[0],
        bits=max(tags.get(258, (1,))),
        orientation=_valid_orientation(tags.get(274, (1,))[0]),
        frames=len(pages),
        alpha=338 in tags,
        palette=photometric == 3,
        is_float=3 in tags.get(339, (1,)),
        is_cmyk=photometric == 5,
        white_is_zero=photometric == 0,
    )


def _exif_orientation(exif: bytes) -> int:
    """The orientation tag of an EXIF block, 1 where it is absent or damaged: it is only a hint."""
    if exif[:4] not in (b"II*\x00", b"MM\x00*"):
        return 1
    try:
        tags = _tiff_directories(exif, most=1)[0]
    except (DecodeError, struct.error, IndexError):
        return 1
    return _valid_orientation(tags.get(274, (1,))[0])


def _valid_orientation(value: int) -> int:
    return value if 1 <= value <= 8 else 1


def _tiff_directories(data: bytes, most: int = 64) -> list[dict[int, tuple[int, ...]]]:
    """The integer tags of each image directory of a TIFF file. Raises `DecodeError` where they do not fit."""
    order = "<" if data[:2] == b"II" else ">"
    (offset,) = struct.unpack(order + "I", data[4:8])
    found: list[dict[int, tuple[int, ...]]] = []
    seen: set[int] = set()
    while offset and len(found) < most:
        if offset in seen:
            raise DecodeError("corrupt", "the TIFF's directories go in a circle")
        if offset + 2 > len(data):
            raise DecodeError("truncated", "the TIFF ends before its directory")
        seen.add(offset)
        (count,) = struct.unpack(order + "H", data[offset : offset + 2])
        after = offset + 2 + 12 * count
        entries = [data[p : p + 12] for p in range(offset + 2, after, 12)]
        found.append({tag: values for tag, values in (_tiff_tag(data, e, order) for e in entries) if values})
        (offset,) = struct.unpack(order + "I", data[after : after + 4])
    return found


def _tiff_tag(data: bytes, entry: bytes, order: str) -> tuple[int, tuple[int, ...]]:
    tag, kind, count = struct.unpack(order + "HHI", entry[:8])
    letter = {1: "B", 3: "H", 4: "I"}.get(kind)
    if letter is None:
        return tag, ()
    size = struct.calcsize(letter) * count
    if size > len(data):
        raise DecodeError("corrupt", "a TIFF tag is longer than the file")
    start = 8
    if size > 4:
        (start,) = struct.unpack(order + "I", entry[8:12])
    source = entry if size <= 4 else data
    return tag, struct.unpack(f"{order}{count}{letter}", source[start : start + size])


Reader = Callable[[bytes], ImageHeader]

READERS: dict[bytes, Reader] = {
    b"\x89PNG\r\n\x1a\n": _read_png,
    b"\xff\xd8": _read_jpeg,
    b"II*\x00": _read_tiff,
    b"MM\x00*": _read_tiff,
    b"BM": _read_bmp,
    b"RIFF": _read_webp,
}
