"""Drawn films as DICOM files, and a model file that classifies them: for results as DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from tiny_onnx import HEAD, tiny_onnx

from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.inference.model import Model, open_model

NAME, PATIENT = "Müller^Änne", "PID-4711"


def film(path: Path, study: str = "1.2.3", number: int = 1, patient: str = PATIENT, **values: Any) -> Path:
    """A drawn film, 80 rows and 96 columns; `number` is its place in the study, and of its shades."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = f"{study}.1.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.StudyInstanceUID, header.SeriesInstanceUID = study, f"{study}.1"
    header.PatientName, header.PatientID, header.PatientSex = NAME, patient, "F"
    header.Modality, header.PhotometricInterpretation = "DX", "MONOCHROME2"
    header.PatientOrientation = ["L", "F"]
    rough = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
    pixels = cv2.resize(rough, (96, 80), interpolation=cv2.INTER_CUBIC)
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.PixelData = pixels.tobytes()
    for name, value in values.items():
        setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def film_model(folder: Path, class_maps: bool = False) -> Path:
    """A model file of two classes, a and b, without an operating point."""
    path = folder / "m.magsd"
    write_model_file(path, HEAD, {0: tiny_onnx(4.0, class_maps=class_maps)})
    return path


def open_film_model(folder: Path) -> Model:
    """The same, opened."""
    return open_model(film_model(folder), folder)
