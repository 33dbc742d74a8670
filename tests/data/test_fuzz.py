"""Damaged files of every kind: a picture or a coded reason, never anything else.

Each round changes bytes of a good file: flips, cuts, zeros, insertions; every second PNG gets its checksums
mended, so that the damage reaches the decoder. The short test is a sample; the one on real files (marker
`real`), the long one (`slow`) and ``python tests/data/test_fuzz.py SECONDS [FILE...]`` go on for a while, in
worker processes whose memory they watch.
"""

from __future__ import annotations

import struct
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pictures import dicom_bytes, encoded, gradient, radiograph, saved

from magsd_cli.data.decode import Decoded, DecodeError, decode_image
from magsd_cli.runtime.worker_pool import Crash, Limits, plain, run_isolated

CODES = {
    *("empty", "not_image", "unsupported_format", "truncated", "corrupt", "too_large", "too_small"),
    *("multi_frame", "cmyk", "float_image", "unsupported_depth", "missing_codec", "constant"),
    *("not_grayscale", "no_pixels", "ct_slice", "not_xray", "lateral_view"),
    *("other_body_part", "for_processing"),
}

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MEMORY = 1024  # MiB that a worker may take at most


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
    return mend_checksums(bytes(changed)) if generator.random() < 0.5 else bytes(changed)


def mend_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold; any other file as it is."""
    if data[:8] != SIGNATURE:
        return data
    mended, place = bytearray(data), 8
    while place + 12 <= len(mended):
        (length,) = struct.unpack(">I", mended[place : place + 4])
        end = place + 8 + length
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(mended[place + 4 : end]))
        place = end + 4
    return bytes(mended)


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


def outcome_and_memory(data: bytes) -> tuple[str, int]:
    """What came of it, and the most memory in MiB that this process has had so far."""
    code = outcome(data)
    lines = Path("/proc/self/status").read_text().splitlines()
    # not getrusage: its peak is inherited from the process that started this one
    return code, next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) >> 10


def fuzz(files: dict[str, bytes], seconds: float, folder: Path) -> tuple[Counter[str], int]:
    """Fuzz in worker processes; return what came of how many, and the most MiB that a worker took.

    What broke a promise or killed its process counts and stays in `folder`.
    """
    sent: dict[int, bytes] = {}

    def remembered():  # type: ignore[no-untyped-def]
        for number, data in enumerate(endless(files, seconds)):
            sent[number] = data
            yield data

    def crashed(_data: bytes, crash: Crash) -> Crash:
        return crash

    counts: Counter[str] = Counter()
    most = 0
    limits = Limits(seconds=20, memory=2 * 2**30)
    parts = run_isolated(plain, (outcome_and_memory,), remembered(), crashed, workers=2, limits=limits)
    for number, result in enumerate(result for part in parts for result in part):
        data = sent.pop(number)
        if isinstance(result, Crash):
            counts[result.code] += 1
            (folder / f"{result.code}-{number}.bin").write_bytes(data)
        else:
            counts[result[0]] += 1
            most = max(most, result[1])
    return counts, most


@pytest.mark.slow
def test_a_while(tmp_path: Path) -> None:
    check(good_files(), 120, tmp_path)


@pytest.mark.real
def test_real_files(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "raw").iterdir(), key=lambda path: path.stat().st_size)[:12]
    assert {path.suffix for path in files} >= {".png", ".jpg", ".dcm"}
    check({path.name: path.read_bytes() for path in files}, 8, tmp_path)


def check(files: dict[str, bytes], seconds: float, folder: Path) -> None:
    counts, most = fuzz(files, seconds, folder)
    assert set(counts) <= CODES | {"ok"}, counts
    assert sum(counts.values()) > 5 * seconds
    assert most < MEMORY


if __name__ == "__main__":
    import os

    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    import test_fuzz  # by its name, so that worker processes find its functions

    chosen = {name: Path(name).read_bytes() for name in sys.argv[2:]} or good_files()
    target = Path("/tmp/magsd-fuzz")
    target.mkdir(exist_ok=True)
    print(test_fuzz.fuzz(chosen, float(sys.argv[1]), target))
