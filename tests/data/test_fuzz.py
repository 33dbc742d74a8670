"""Damaged files of every kind: a picture or a coded reason, never anything else.

Each round changes bytes of a good file: flips, cuts, zeros, insertions. The short test is a sample; the long
one (marker `slow`) and ``python tests/data/test_fuzz.py SECONDS [FILE...]`` go on for a while.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pictures import dicom_bytes, encoded, gradient, radiograph, saved

from magsd_cli.data.decode import Decoded, DecodeError, decode_image
from magsd_cli.data.isolate import Crashed, run_isolated

CODES = {
    *("empty", "not_image", "unsupported_format", "truncated", "corrupt", "too_large", "too_small"),
    *("multi_frame", "cmyk", "float_image", "unsupported_depth", "missing_codec", "constant"),
    *("not_grayscale", "no_pixels", "ct_slice", "not_xray", "lateral_view"),
}


def good_files() -> dict[str, bytes]:
    gray = gradient()
    picture = Image.fromarray(gray)
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "BitsStored": 12, "HighBit": 11}
    compressed = radiograph()
    compressed.compress("1.2.840.10008.1.2.5")
    return {
        "png": encoded(gray),
        "png 16": encoded(gray.astype(np.uint16) * 16),
        "png palette": saved(picture.convert("P"), "PNG"),
        "jpeg": encoded(gray, ".jpg"),
        "jpeg progressive": encoded(gray, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "tiff": saved(picture, "TIFF", compression="tiff_lzw"),
        "tiff raw": saved(picture, "TIFF"),
        "bmp": encoded(gray, ".bmp"),
        "webp": saved(picture, "WEBP"),
        "dicom": dicom_bytes(radiograph(gray.astype(np.uint16) * 16, **window)),
        "dicom rle": dicom_bytes(compressed),
    }


def damage(data: bytes, generator: np.random.Generator) -> bytes:
    """One to eight changes, half of them in the first 512 bytes, where the headers are."""
    changed = bytearray(data)
    for _ in range(int(generator.integers(1, 9))):
        if not changed:
            break
        limit = min(len(changed), 512) if generator.random() < 0.5 else len(changed)
        place = int(generator.integers(limit))
        kind = generator.choice(
            ["flip", "byte", "zero", "cut", "insert", "repeat"], p=[0.4, 0.3, 0.1, 0.05, 0.1, 0.05]
        )
        if kind == "flip":
            changed[place] ^= 1 << int(generator.integers(8))
        elif kind == "byte":
            changed[place] = int(generator.choice([0, 1, 0x7F, 0x80, 0xFF, int(generator.integers(256))]))
        elif kind == "zero":
            changed[place : place + 16] = bytes(16)
        elif kind == "cut":
            del changed[max(place, 1) :]
        elif kind == "insert":
            changed[place:place] = generator.bytes(4)
        else:
            changed[place:place] = changed[place : place + 64]
    return bytes(changed)


def outcome(data: bytes) -> str:
    """The code of what came of it; anything that is not promised is an exception."""
    try:
        decoded = decode_image(data)
    except DecodeError as error:
        code = error.code if error.reason else "no reason"
    else:
        code = "ok"
    assert code in CODES | {"ok"}, code
    if code != "ok":
        return code
    assert isinstance(decoded, Decoded)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.ndim == 2
    return "ok"


@pytest.mark.parametrize("name", good_files())
def test_sample(name: str) -> None:
    generator = np.random.default_rng(list(name.encode()))
    data = good_files()[name]
    assert outcome(data) == "ok"
    counts = Counter(outcome(damage(data, generator)) for _ in range(60))
    assert sum(counts.values()) == 60


def endless(files: dict[str, bytes], seconds: float, seed: int = 0):  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(seed)
    end = time.monotonic() + seconds
    names = sorted(files)
    while time.monotonic() < end:
        yield damage(files[names[int(generator.integers(len(names)))]], generator)


@pytest.mark.slow
def test_a_while(tmp_path: Path) -> None:
    counts = fuzz(good_files(), 120, tmp_path)
    assert sum(counts.values()) > 1000


def fuzz(files: dict[str, bytes], seconds: float, folder: Path) -> Counter[str]:
    """Fuzz in worker processes; what broke a promise or killed its process counts and stays in `folder`."""
    sent: dict[int, bytes] = {}

    def remembered():  # type: ignore[no-untyped-def]
        for number, data in enumerate(endless(files, seconds)):
            sent[number] = data
            yield data

    counts: Counter[str] = Counter()
    for number, result in run_isolated(outcome, remembered(), workers=2, seconds=20):
        data = sent.pop(number)
        counts[result.code if isinstance(result, Crashed) else result] += 1
        if isinstance(result, Crashed):
            (folder / f"{result.code}-{number}.bin").write_bytes(data)
    return counts


if __name__ == "__main__":
    import test_fuzz  # by its name, so that worker processes find its functions

    chosen = {name: Path(name).read_bytes() for name in sys.argv[2:]} or good_files()
    target = Path("/tmp/magsd-fuzz")
    target.mkdir(exist_ok=True)
    print(test_fuzz.fuzz(chosen, float(sys.argv[1]), target))
