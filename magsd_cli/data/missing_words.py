"""Words that stand for "nothing is known" in tables and DICOM headers: one list for both.

Programs write them (pandas' "nan", R's "NA", SQL's "NULL", Excel's "#N/A"), and so do people ("unknown",
"n/a", "?"). Anonymisers leave more in a patient's id: "ANONYMOUS", "DEIDENTIFIED", "000000". Taken at their
word they make one patient of all people without one, or a class ``nan``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

# Lower case, and what is neither letter nor digit as one blank: "N/A" is "n a", "<NA>" is "na".
_MISSING_WORDS = """
    nan na nat none null nil void undefined undef unset unknown unkown unkn unk missing empty blank
    unspecified unavailable unidentified unassigned undetermined unrecorded unreported todo tbd tba
    desconocido desconocida desconhecido desconhecida inconnu inconnue unbekannt sconosciuto sconosciuta
    onbekend okänd ukendt ukjent nieznany nieznana bilinmiyor неизвестно 未知 不明 不详
"""

MISSING = {
    *_MISSING_WORDS.split(),
    *("n a", "n d", "not a number", "not available", "not applicable", "not known", "not given", "not set"),
    *("not specified", "not recorded", "not stated", "not provided", "not reported", "no data", "no value"),
    *("no information", "1 ind", "1 qnan"),
}

EXCEL_ERRORS = {"#n/a", "#ref!", "#value!", "#name?", "#num!", "#null!", "#div/0!", "#nv", "#getting_data"}

_ANONYMISERS_WORDS = """
    anon anonym anonymous anonymus anonymized anonymised anonymize anonymise anonymisiert anonimo
    anónimo anonyme anonimizado deidentified deidentify deident identified removed redacted withheld
    deleted hidden masked confidential private erased cleared stripped obfuscated scrubbed dummy noid
    noname pseudonym pseudonymized pseudonymised patientid
"""

ANONYMISERS = {*_ANONYMISERS_WORDS.split()}

# They say nothing by themselves and stand beside one of the above: "Anonymous^Patient", "ID REMOVED".
_FILLERS_WORDS = """
    patient patients pat person subject id pid name number identifier de no not the value data is first
    last given family of and by
"""

FILLERS = {*_FILLERS_WORDS.split()}
NOBODY = {"patient", "patient id", "patient name", "no id", "no name", "no patient id", "no patient name"}
LONGEST = 40  # of what is looked at: paths and free texts are none of the words
DROPPED = re.compile(r"x{3,}|-\d+(\.0)?", re.IGNORECASE)  # "XXXX"; pandas' -1 for a missing category


def is_missing(value: str) -> bool:
    """Return whether a table's value says that nothing is known: "", "nan", "N/A", "unknown", "?", ..."""
    if len(value) > LONGEST:
        return False
    plain = _plain(value)
    return not plain or plain in MISSING or value.strip().casefold() in EXCEL_ERRORS


def is_missing_id(value: str, *, zero: bool = True) -> bool:
    """Return whether the id of a patient or an exam is nobody's: a word for unknown or what an anonymiser
    left.

    `zero` says whether "0", "000", ... counts, as in a DICOM header; people number patients from 0 as well.
    """
    if is_missing(value) or DROPPED.fullmatch(value.strip()):
        return True
    plain = _plain(value)
    if _is_zero(value):
        return zero
    words = [word.rstrip("0") if word[0].isalpha() else word.lstrip("0") for word in plain.split()]
    telling = MISSING | ANONYMISERS
    return plain in NOBODY or (
        any(word in telling for word in words)
        and all(not word or word in telling or word in FILLERS for word in words)
    )


def known_ids(ids: Sequence[str]) -> list[str]:
    """The ids of a table's column, "" for those that are nobody's.

    Zero is a patient where the column numbers its patients from it (a one is there as well) and no more than
    a tenth of the images are of that patient; else it is an anonymiser's.
    """
    zeros = sum(_is_zero(value) for value in ids)
    numbered = any(_is_one(value) for value in ids) and zeros <= max(2, len(ids) // 10)
    return ["" if is_missing_id(value, zero=not numbered) else value for value in ids]


def _is_zero(value: str) -> bool:
    plain = _plain(value)
    return bool(plain) and set(plain) <= {"0", " "}


def _is_one(value: str) -> bool:
    return _plain(value).removesuffix(" 0").lstrip("0") == "1"


@lru_cache(65_536)  # columns repeat their values
def _plain(value: str) -> str:
    text = unicodedata.normalize("NFKC", value).casefold()
    return re.sub(r"[\W_]+", " ", text).strip()
