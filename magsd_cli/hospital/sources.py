"""The DICOM images that results are about: their headers, checked, as every result object takes them over.

Patient and study identity of a source go into the result objects and nowhere else: no message quotes them.
"""

from __future__ import annotations

import re
import warnings as python_warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID

from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.data.dicom.fields import text
from magsd_cli.data.dicom.read import read_dataset
from magsd_cli.data.dicom.start import dicom_start
from magsd_cli.hashing import sha256_bytes

UNICODE = "ISO_IR 192"
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
DATE = re.compile(r"\d{8}")
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of pydicom and highdicom back: they quote the header, a patient's name among it."""
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        yield


class SourceError(Exception):
    """A source without a result object: `reason`, without anything of its header."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Source:
    """One DICOM image: its `header` (without pixels, text as Unicode) and the SHA-256 of its whole file."""

    header: Dataset = field(repr=False)
    sha256: str

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID: who writes it anywhere but into a result object writes a keyed hash of it."""
        return str(self.header.StudyInstanceUID)

    @property
    def patient_id(self) -> str:
        """PatientID, stripped; "" where it is unknown."""
        return text(self.header, "PatientID")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the image."""
        return int(self.header.Rows), int(self.header.Columns)


def open_source(path: Path) -> Source:
    """The source in a file. Raises `SourceError` where it is not DICOM, or lacks what a result refers to."""
    try:
        return source_from_bytes(read_bytes(path))
    except DecodeError as error:
        raise SourceError(error.reason) from None


def source_from_bytes(data: bytes) -> Source:
    """The source in the bytes of a DICOM file. Raises `SourceError` as `open_source`."""
    if dicom_start(data) is None:
        raise SourceError("not a DICOM file, so it has no study for a result")
    with quiet():
        try:
            header = _unicode(read_dataset(data, header_only=True))
        except SourceError:
            raise
        except Exception:  # pydicom raises nearly anything on damage, and quotes the header in it
            raise SourceError("its DICOM header cannot be read") from None
    return Source(header, sha256_bytes(data))


def one_study(sources: Sequence[Source]) -> None:
    """Raise `SourceError` unless `sources` are images of one study of one patient."""
    if len({source.study_uid for source in sources}) > 1:
        raise SourceError("images of several studies")
    if len({source.patient_id for source in sources}) > 1:
        raise SourceError("its images name two patients, so a result would belong to neither")


def _unicode(header: Dataset) -> Dataset:
    """The header with its text decoded, to be written as UTF-8, and every identifying attribute there."""
    for name in UIDS:
        value = text(header, name)
        if not value:
            raise SourceError(f"its header has no {name}, by which a result refers to it")
        if not UID(value).is_valid:
            raise SourceError(f"the {name} of its header is not a valid UID")
    header.decode()
    header.SpecificCharacterSet = UNICODE
    for name in TYPE_2:
        if name not in header or header[name].value is None:
            setattr(header, name, "")
    _blank(header, "PatientSex", lambda value: value in ("M", "F", "O"))
    for name in ("PatientBirthDate", "StudyDate"):
        _blank(header, name, lambda value: DATE.fullmatch(value) is not None and _is_date(value))
    _blank(header, "StudyTime", lambda value: TIME.fullmatch(value) is not None)
    return header


def _blank(header: Dataset, name: str, valid: Callable[[str], bool]) -> None:
    """Empty an attribute that is not as the standard wants it: it names no patient, and would be refused."""
    value = text(header, name)
    setattr(header, name, value if value and valid(value) else "")


def _is_date(value: str) -> bool:
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True
