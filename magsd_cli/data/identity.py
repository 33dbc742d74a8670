"""The patient and the exam of a DICOM file, and what may be written of them: a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import warnings as python_warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.data.dicom.start import dicom_start
from magsd_cli.data.missing_words import is_missing_id


class Identity(NamedTuple):
    """PatientID and StudyInstanceUID as they stand in a header, "" where they are absent."""

    patient_id: str
    study_uid: str


def read_identity(path: Path) -> Identity:
    """The identity in the header of a file; both "" for a file that is not DICOM or cannot be read."""
    try:
        return identity_of(read_bytes(path))
    except DecodeError:
        return Identity("", "")


def identity_of(data: bytes) -> Identity:
    """The identity in the bytes of a DICOM file; both "" where they are none, or damaged."""
    if dicom_start(data) is None:
        return Identity("", "")
    from magsd_cli.data.dicom.fields import text
    from magsd_cli.data.dicom.read import read_dataset

    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        try:
            dataset = read_dataset(data, header_only=True)
            return Identity(text(dataset, "PatientID"), text(dataset, "StudyInstanceUID"))
        except Exception:  # pydicom raises nearly anything on damage
            return Identity("", "")


def keyed_hash(identity: str, key: Callable[[], bytes]) -> str:
    """An id from a header as a keyed hash (HMAC-SHA-256); "" for an anonymiser's placeholder.

    key: gives the site key, and is asked only when it is needed.
    """
    if is_missing_id(identity):
        return ""
    return "h-" + hmac.new(key(), identity.strip().encode(), hashlib.sha256).hexdigest()[:24]
