"""One list of words for "nothing is known", for tables and DICOM headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from magsd_cli.data.layouts import Record
from magsd_cli.data.missing_words import is_missing, is_missing_id, known_ids
from magsd_cli.preparation.samples import Row, sample_rows

UNKNOWN = "nan NaN None NA N/A n.a. <NA> null NULL nil unknown Unk ? - -- ... #N/A NaT (null) [unknown]"
LEFT = (
    "DEIDENTIFIED De-identified REMOVED Anonymous ANON Anonymous^Patient ANONYMIZED^^^^ 0 000 0000000 0.0 "
    "XXXXXX ***** Patient^Anonymous ID_REMOVED PATIENT_ID redacted NO_ID -1 -99 anon000 patient_nan"
)
PATIENTS = "1 01 p1 P0001 patient1 Anon0001 ANON-12 anonymous_3 10 100 1.2.840.0.1 x Nan-Ling Na'vi n1 A0"


def test_words_for_unknown() -> None:
    assert [
        word for word in [*UNKNOWN.split(), "", " ", "not available", "NOT_KNOWN"] if not is_missing(word)
    ] == []
    known = "normal covid 0 1 N P negative no_finding A AP Nanking unknown_virus nonempty"
    assert [word for word in known.split() if is_missing(word)] == []


def test_what_anonymisers_leave() -> None:
    assert [word for word in [*UNKNOWN.split(), *LEFT.split(), "No Name"] if not is_missing_id(word)] == []
    assert [word for word in PATIENTS.split() if is_missing_id(word)] == []


def test_zero_is_a_patient_where_patients_are_numbered_from_it() -> None:
    numbered = [str(number // 2) for number in range(40)]
    assert known_ids(numbered) == numbered
    assert known_ids(["0", "0", "17", "18"]) == ["", "", "17", "18"]
    assert known_ids(["000"] * 12 + [str(number) for number in range(1, 13)])[:12] == [""] * 12
    assert known_ids(["nan", "p1", "None"]) == ["", "p1", ""]


@pytest.mark.parametrize("word", [*UNKNOWN.split(), *LEFT.split()])
def test_a_dicom_header_with_such_an_id_has_no_patient(word: str) -> None:
    rows: list[Row] = [
        {"error_code": "", "patient_id": word, "exam_id": word},
        {"error_code": "", "patient_id": "7"},
    ]
    records = [Record(path=Path("/x") / name, image_id=name, label="A") for name in "ab"]
    one, two = sample_rows(records, rows, [0, 1], lambda: b"k" * 32)
    assert (one["exam_id"], two["exam_id"]) == ("", "")
    assert one["patient_id"] == ""
    assert two["patient_id"].startswith("h-")
