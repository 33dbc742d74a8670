"""The codes that results are written in: the standard's, those of classes, and our own where there is none.

Standard codes are taken from the dictionaries of DICOM PS3.16 and of SNOMED CT and LOINC that come with
pydicom. What no standard names has the coding scheme 99MAGSD (docs/dicom.md lists it).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from magsd_cli.data.decode import DecodeError, read_bytes
from magsd_cli.errors import UsageError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.inference.decision import DISAGREE, UNLIKE, UNSURE

SCHEME = "99MAGSD"
SCHEME_UID = "2.25.195555102693151521264232775439063429471"  # of a random UUID
LONGEST_MEANING = 64  # characters of a code meaning (LO)
LONGEST_VALUE = 16  # characters of a code value (SH)

TITLE: Code = codes.DCM.ImagingMeasurementReport  # CID 7021
PROCEDURE: Code = codes.cid100.ImagingProcedure
COMMENT: Code = codes.DCM.Comment
PROBABILITY: Code = codes.DCM.Probability
FINDING: Code = codes.DCM.Finding
NO_UNITS: Code = codes.UCUM.NoUnits
PRESENT: Code = codes.cid240.Present
ABSENT: Code = codes.cid240.Absent
CHEST: Code = codes.SCT.Chest
DEVICE: Code = codes.DCM.Device
FAMILY: Code = codes.cid7162.ArtificialIntelligence
REGION_CATEGORY: Code = codes.cid7150.SpatialAndRelationalConcept
REGION: Code = codes.DCM.SelectedRegion

PREDICTED = Code("predicted", SCHEME, "Class with the highest probability")
REFERRAL = Code("referral", SCHEME, "Referral to a reader")
REFER = Code("refer", SCHEME, "Refer it to a reader")
NO_REASON = Code("no-reason", SCHEME, "Checked, no reason to refer")
NOT_CHECKED = Code("not-checked", SCHEME, "Its appearance could not be checked")
REASON = Code("referral-reason", SCHEME, "Reason for the referral")
REASONS = {
    UNLIKE: Code("unlike-training", SCHEME, "Unlike the training images"),
    DISAGREE: Code("folds-disagree", SCHEME, "The networks disagree"),
    UNSURE: Code("low-confidence", SCHEME, "Confidence below the limit"),
}

COLUMNS = ("class", "code", "scheme", "meaning")


def class_codes(
    classes: Sequence[str], recipe: Mapping[str, Any], file: Path | None = None
) -> dict[str, Code]:
    """The code of each class: of the CSV `file`, else of the recipe's ``[codes]``, else of scheme 99MAGSD.

    The CSV's columns are class,code,scheme,meaning. Raises `UsageError` for a file that cannot be read, lacks
    a column, or names a class that the model has not.
    """
    found = {name: Code(_own_value(name), SCHEME, _short(name)) for name in classes}
    for name, values in (recipe.get("codes") or {}).items():
        if name in found:
            found[name] = Code(values["value"], values["scheme"], _short(values["meaning"]))
    return found if file is None else found | _read_codes(file, classes)


def _read_codes(file: Path, classes: Sequence[str]) -> dict[str, Code]:
    try:
        rows = list(csv.DictReader(io.StringIO(read_bytes(file).decode("utf-8-sig"), newline="")))
    except (DecodeError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "reason", None) or str(error)
        raise UsageError(f"--codes {file}: cannot be read ({reason}); {_HOW}") from None
    found = {}
    for number, row in enumerate(rows, start=2):
        values = [(row.get(name) or "").strip() for name in COLUMNS]
        if not all(values):
            raise UsageError(f"--codes {file}, line {number}: a value is missing; {_HOW}")
        name, value, scheme, meaning = values
        if name not in classes:
            raise UsageError(
                f"--codes {file}, line {number}: the model has no class {name}; "
                f"its classes are {', '.join(classes)}"
            )
        if len(scheme) > 16 or len(meaning) > LONGEST_MEANING:
            raise UsageError(
                f"--codes {file}, line {number}: a scheme has at most 16 characters, a meaning at most "
                f"{LONGEST_MEANING}"
            )
        found[name] = Code(value, scheme, meaning)
    if not found:
        raise UsageError(f"--codes {file}: has no codes; {_HOW}")
    return found


_HOW = f"its first line is {','.join(COLUMNS)}, and each further line codes a class"


def _own_value(name: str) -> str:
    """A class's code value in our scheme: its name, or its hash where that is not short plain text."""
    if name.isascii() and len(name) <= LONGEST_VALUE and "\\" not in name:
        return name
    return f"class-{sha256_bytes(name.encode())[:10]}"


def _short(meaning: str) -> str:
    """A meaning cut to what fits; in bytes, for some programs count those instead of characters."""
    plain = meaning.replace("\\", "/").encode()
    if len(plain) <= LONGEST_MEANING:
        return plain.decode()
    return plain[: LONGEST_MEANING - 3].decode(errors="ignore") + "..."
