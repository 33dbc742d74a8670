"""Recognise a DICOM file and find its beginning: with or without preamble, whatever comes first."""

from __future__ import annotations

import re
import struct

PREAMBLE = 128
MAGIC = b"DICM"
GROUPS = (0x0002, 0x0008)  # file meta information, identification: one of them comes first
# The explicit value representations that elements of these groups have, or private and odd ones may have.
REPRESENTATIONS = re.compile(rb"AE|AS|AT|CS|DA|DS|DT|F[DL]|IS|L[OT]|O[BDFLVW]|PN|S[HLQSTV]|TM|U[CILNRSTV]")


def dicom_start(data: bytes) -> int | None:
    """Find where preamble or data set begins in the bytes of a DICOM file (PS3.10, 7.1); None for any other
    file.

    Besides the standard's 128 bytes and "DICM" there are files without them, with "DICM" alone, with an empty
    preamble alone, and of either byte order; a group length or any other element may come first.
    """
    if data[PREAMBLE : PREAMBLE + 4] == MAGIC or _is_element(data, 0):
        return 0
    if data[:4] == MAGIC and _is_element(data, 4):
        return 4
    if not any(data[:PREAMBLE]) and _is_element(data, PREAMBLE):
        return PREAMBLE
    return None


def _is_element(data: bytes, start: int) -> bool:
    """Return whether a data element of a first group is at `start`: of a known type or fitting length."""
    head = data[start : start + 8]
    if len(head) < 8:
        return False
    for order in "<>":
        (group,) = struct.unpack(order + "H", head[:2])
        if group not in GROUPS:
            continue
        if REPRESENTATIONS.fullmatch(head[4:6]):
            return True
        (length,) = struct.unpack(order + "I", head[4:])
        if length == 0xFFFF_FFFF or length <= len(data) - start - 8:
            return True
    return False
