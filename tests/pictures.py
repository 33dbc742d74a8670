"""Small pictures and DICOM files that the tests of the data room make for themselves."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

Pixels = npt.NDArray[Any]


def gradient(height: int = 96, width: int = 128) -> Pixels:
    """A smooth picture without any symmetry that uses 0 and 255."""
    y, x = np.mgrid[:height, :width]
    picture = ((np.sin(x / 9) + np.cos(y / 7) + x / 64) * 50 + 60).clip(1, 254).astype(np.uint8)
    picture[0, 0], picture[-1, -1] = 0, 255
    return picture


def noise(seed: int, side: int = 80) -> Pixels:
    """A blurred random picture: different seeds look different."""
    rough = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC))


def encoded(picture: Pixels, suffix: str = ".png", *options: int) -> bytes:
    return bytes(cv2.imencode(suffix, picture, options)[1])


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb(width: int = 20_000, height: int = 20_000) -> bytes:
    """A small PNG that announces a huge picture."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + head + body + png_chunk(b"IEND", b"")


def radiograph(pixels: Pixels | None = None, **tags: Any) -> FileDataset:
    """An uncompressed digital radiograph; `tags` overrides, None removes."""
    pixels = gradient() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": generate_uid(),
        "Modality": "DX",
        "Rows": pixels.shape[-2] if pixels.shape[-1] != 3 else pixels.shape[0],
        "Columns": pixels.shape[-1] if pixels.shape[-1] != 3 else pixels.shape[1],
        "SamplesPerPixel": 3 if pixels.shape[-1] == 3 else 1,
        "PhotometricInterpretation": "RGB" if pixels.shape[-1] == 3 else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    }
    if pixels.shape[-1] == 3:
        values["PlanarConfiguration"] = 0
    with warnings.catch_warnings(action="ignore"):
        for name, value in (values | tags).items():
            if value is not None:
                setattr(dataset, name, value)
    return dataset


def dicom_bytes(dataset: FileDataset) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
