"""Every kind of file gets the right pixels or the promised code."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import bomb, encoded, gradient, png_chunk, saved
from PIL import Image

from magsd_cli.data.decode import DecodeError, decode_image, read_image

G = gradient()
GRAY = Image.fromarray(G)
WIDE = G.astype(np.uint16)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 96, 8, 0, 0, 0, 0))
LINES = b"".join(b"\0" + line.tobytes() for line in G)

# name, bytes, most that a pixel may be off, a word that the warnings must hold
GOOD = {
    "png": (encoded(G), 0, None),
    "jpeg": (encoded(G, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 98), 4, None),
    "progressive jpeg": (saved(GRAY, "JPEG", quality=98, progressive=True), 4, None),
    "tiff": (saved(GRAY, "TIFF"), 0, None),
    "tiff lzw": (saved(GRAY, "TIFF", compression="tiff_lzw"), 0, None),
    "bmp": (encoded(G, ".bmp"), 0, None),
    "bmp 32": (saved(GRAY.convert("RGBA"), "BMP"), 0, None),
    "webp": (saved(GRAY, "WEBP", lossless=True), 0, None),
    "rgb": (saved(GRAY.convert("RGB"), "PNG"), 0, None),
    "rgb jpeg": (saved(GRAY.convert("RGB"), "JPEG", quality=98), 4, None),
    "16 bit": (encoded(WIDE * 257), 0, "16 bits"),
    "12 bit in 16": (encoded(WIDE * 16 + 8), 1, "12 bits"),
    "10 bit in 16": (encoded(WIDE * 4 + 2), 1, "10 bits"),
    "16 bit tiff": (saved(Image.fromarray(WIDE * 257), "TIFF"), 0, "16 bits"),
    "16 bit rgb": (encoded(np.dstack([WIDE * 257] * 3)), 0, "16 bits"),
    "palette": (saved(GRAY.convert("P"), "PNG"), 0, "palette"),
    "opaque alpha": (saved(GRAY.convert("RGBA"), "PNG"), 0, "opaque alpha"),
    "gray alpha": (saved(GRAY.convert("LA"), "PNG"), 0, "opaque alpha"),
    "webp alpha": (saved(GRAY.convert("RGBA"), "WEBP", lossless=True), 0, None),
}


@pytest.mark.parametrize("name", GOOD)
def test_right_pixels(name: str) -> None:
    data, tolerance, word = GOOD[name]
    decoded = decode_image(data)
    assert decoded.pixels.dtype == np.uint8
    np.testing.assert_allclose(decoded.pixels.astype(int), G, atol=tolerance)
    if word:
        assert any(word in warning for warning in decoded.warnings), decoded.warnings
    elif name != "webp alpha":
        assert decoded.warnings == ()


# How a picture is stored so that a viewer that honours EXIF's orientation shows it upright.
STORED = {
    2: G[:, ::-1],
    3: G[::-1, ::-1],
    4: G[::-1],
    5: G.T,
    6: np.rot90(G, 1),
    7: G[::-1, ::-1].T,
    8: np.rot90(G, -1),
}


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "x"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    stored.save(path, kind, exif=exif, **({"quality": 98} if kind == "JPEG" else {"lossless": True}))
    decoded = read_image(path)
    np.testing.assert_allclose(decoded.pixels.astype(int), G, atol=4)
    assert any("upright" in warning for warning in decoded.warnings)


def test_white_is_zero_tiff() -> None:
    for picture in (255 - G, 65535 - WIDE * 257):
        data = bytearray(saved(Image.fromarray(picture), "TIFF"))
        data[data.find(struct.pack("<HHI", 262, 3, 1)) + 8] = 0
        np.testing.assert_array_equal(decode_image(bytes(data)).pixels, G)


def test_transparency_is_laid_on_black() -> None:
    alpha = Image.new("L", GRAY.size, 255)
    alpha.paste(0, (0, 0, 64, 96))
    decoded = decode_image(saved(Image.merge("LA", [GRAY, alpha]), "PNG"))
    assert decoded.pixels[:, :64].max() == 0
    np.testing.assert_array_equal(decoded.pixels[:, 64:], G[:, 64:])
    assert "transparent areas read as black" in decoded.warnings


def test_a_few_coloured_marks_are_a_warning() -> None:
    marked = np.dstack([G] * 3)
    marked[:10, :40] = (0, 0, 255)
    assert "coloured marks" in decode_image(encoded(marked)).warnings[0]


def jpeg_with(marker: int, body: bytes) -> bytes:
    frame = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    return b"\xff\xd8" + frame + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x00" * 99 + b"\xff\xd9"


def float_tiff() -> bytes:
    return saved(Image.fromarray(G.astype(np.float32)), "TIFF")


PNG, JPEG, TIFF = encoded(G), encoded(G, ".jpg"), saved(GRAY, "TIFF")
BROKEN = PNG[:200] + bytes([PNG[200] ^ 255]) + PNG[201:]
COLOURS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
BAD = {
    "empty": (b"", "empty"),
    "text": (b"patient was fine\n" * 50, "not_image"),
    "random": (np.random.default_rng(1).bytes(5000), "not_image"),
    "png cut": (PNG[: len(PNG) // 2], "truncated"),
    "png without end": (PNG[:-12], "truncated"),
    "png head only": (PNG[:20], "truncated"),
    "jpeg cut": (JPEG[: len(JPEG) // 2], "truncated"),
    "jpeg without end": (JPEG[:-2], "truncated"),
    "jpeg start": (JPEG[:5], "truncated"),
    "tiff cut": (TIFF[: len(TIFF) // 2], "truncated"),
    "bmp cut": (encoded(G, ".bmp")[:2000], "truncated"),
    "webp cut": (saved(GRAY, "WEBP")[:150], "truncated"),
    "checksum": (BROKEN, "corrupt"),
    "zero width": (
        SIGNATURE + png_chunk(b"IHDR", b"\0" * 8 + b"\x08\0\0\0\0") + png_chunk(b"IEND", b""),
        "corrupt",
    ),
    "no picture data": (SIGNATURE + HEAD + png_chunk(b"IEND", b""), "corrupt"),
    "too few lines": (
        SIGNATURE + HEAD + png_chunk(b"IDAT", zlib.compress(LINES[:5000])) + png_chunk(b"IEND", b""),
        "corrupt",
    ),
    "bomb": (bomb(), "too_large"),
    "long side": (bomb(60_000, 20), "too_large"),
    "one pixel": (encoded(np.zeros((1, 1), np.uint8)), "too_small"),
    "float": (float_tiff(), "float_image"),
    "32 bit": (saved(Image.fromarray(G.astype(np.int32)), "TIFF"), "unsupported_depth"),
    "cmyk jpeg": (saved(GRAY.convert("CMYK"), "JPEG"), "cmyk"),
    "cmyk tiff": (saved(GRAY.convert("CMYK"), "TIFF"), "cmyk"),
    "tiff pages": (saved(GRAY, "TIFF", save_all=True, append_images=[GRAY]), "multi_frame"),
    "animated png": (
        saved(GRAY, "PNG", save_all=True, append_images=[Image.fromarray(255 - G)]),
        "multi_frame",
    ),
    "animated webp": (
        saved(GRAY, "WEBP", save_all=True, append_images=[Image.fromarray(255 - G)]),
        "multi_frame",
    ),
    "gif": (saved(GRAY, "GIF"), "unsupported_format"),
    "pdf": (b"%PDF-1.4\n" * 30, "unsupported_format"),
    "constant": (encoded(np.full((64, 64), 7, np.uint8)), "constant"),
    "constant 16 bit": (encoded(np.full((64, 64), 700, np.uint16)), "constant"),
    "colour": (encoded(COLOURS), "not_grayscale"),
    "12 bit jpeg": (jpeg_with(0xC1, struct.pack(">BHHB", 12, 96, 128, 1) + b"\x01\x11\x00"), "missing_codec"),
    "lossless jpeg": (
        jpeg_with(0xC3, struct.pack(">BHHB", 8, 96, 128, 1) + b"\x01\x11\x00"),
        "missing_codec",
    ),
    "dicom junk": (b"\0" * 128 + b"DICM" + b"\x99" * 500, "not_image"),
    "dicom cut": (b"\0" * 128 + b"DICM", "not_image"),
}


@pytest.mark.parametrize("name", BAD)
def test_promised_code(name: str, tmp_path: Path) -> None:
    data, code = BAD[name]
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises(DecodeError) as caught:
        read_image(path)
    assert caught.value.code == code, caught.value.reason
    assert caught.value.reason
    assert "\n" not in caught.value.reason
    assert caught.value.sha256 == hashlib.sha256(data).hexdigest()


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(PNG)
    decoded = read_image(path)
    np.testing.assert_array_equal(decoded.pixels, G)
    assert decoded.sha256 == hashlib.sha256(PNG).hexdigest()


def code_of(path: Path) -> str:
    with pytest.raises(DecodeError) as caught:
        read_image(path)
    return caught.value.code


def test_odd_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    assert code_of(tmp_path / "fifo.png") == "not_a_file"
    assert code_of(tmp_path / "folder.png") == "not_a_file"
    assert code_of(Path("/dev/zero")) == "not_a_file"
    assert code_of(tmp_path / "loop.png") == "link_loop"
    assert code_of(tmp_path / "dangling.png") == "not_found"
    assert code_of(tmp_path / "none.png") == "not_found"
    assert code_of(tmp_path / ("n" * 300)) == "not_found"
    assert code_of(tmp_path / "a\0b") == "not_found"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(PNG)
    path.chmod(0)
    assert code_of(path) == "unreadable"


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    assert code_of(path) == "too_large"


@pytest.mark.parametrize(
    "name", ["a b.png", "a\nb.png", "a\x1b[31mb.png", "a\u202eb.png", os.fsdecode(b"a\xffb.png")]
)
def test_any_file_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PNG)
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels, G)
