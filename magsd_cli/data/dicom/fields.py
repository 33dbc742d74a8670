"""Single fields of a DICOM data set, as text, whole number or number, whatever form they were stored in."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from pydicom.multival import MultiValue

from magsd_cli.data.decode_error import DecodeError


def text(dataset: Any, name: str) -> str:
    """The first value of a field, stripped; "" where it is absent or empty."""
    value = dataset.get(name)
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return ""
    if isinstance(value, MultiValue):
        value = value[0]
    return str(value).strip()


def keyword(dataset: Any, name: str) -> str:
    """A defined term of the standard without case, blanks and signs: "FOR_PROCESSING " is FORPROCESSING."""
    return re.sub(r"[^A-Z0-9]", "", text(dataset, name).upper())


def words(value: str) -> list[str]:
    """The words of a free text, upper case, split at whatever is neither letter nor digit."""
    return [word for word in re.split(r"[\W_]+", value.upper()) if word]


def integer(dataset: Any, name: str, default: int = 0) -> int:
    """A whole number; `default` where it is absent or empty."""
    value = dataset.get(name)
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return default if value is None or value == "" else int(value)


def number(dataset: Any, name: str, default: float) -> float:
    """A number; `default` where it is absent or empty. Raises `DecodeError` where it is not finite."""
    value = dataset.get(name)
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    found = default if value is None or value == "" else float(value)
    if not np.isfinite(found):
        raise DecodeError("corrupt", "a number in the DICOM header is not finite")
    return found


def items(dataset: Any, name: str) -> list[Any]:
    """The items of a sequence, none where it is absent."""
    return list(dataset.get(name) or [])


def is_big_endian(dataset: Any) -> bool:
    """Return whether the data set was read as big endian, so that raw bytes in it are swapped."""
    return getattr(dataset, "original_encoding", (None, None))[1] is False
