"""Ids of patients and exams that cannot be what they seem, and ids of several sources kept apart.

One id for everybody comes from an anonymiser that writes one StudyInstanceUID or PatientID into every file;
two hospitals both number their patients from 1. Only the user knows which, so both are pointed out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from magsd_cli.console import counted
from magsd_cli.data.layouts import Listing, Record

if TYPE_CHECKING:
    import pandas as pd


LEAST = 6  # images of one id before it is looked at
SHARE = 0.1  # of the images with a known id
TIMES = 4  # as many as other ids have (median)
EVERYBODY = 4  # images that all have one id
OWN_NUMBERS = {"csv", "folder", "unlabelled"}  # layouts of published archives prefix their ids


def odd_ids(samples: pd.DataFrame) -> list[str]:
    """Sentences about ids of usable images that look like everybody's or like a word for unknown."""
    used = samples[samples["status"] == "ok"]
    notes = []
    for column, word in (("patient_id", "patient"), ("exam_id", "exam (StudyInstanceUID)")):
        known = used[used[column] != ""]
        counts = Counter(known[column])
        if not counts:
            continue
        common, most = counts.most_common(1)[0]
        first = known.loc[known[column] == common, "image_id"].iloc[0]
        others = known.loc[known[column] != common, column]
        patients = known.loc[(known[column] == common) & (known["patient_id"] != ""), "patient_id"].nunique()
        if not len(others) and most == len(used) >= EVERYBODY:
            notes.append(
                f"all {most} images have one {word} id: they are one group, no folds can be drawn from it; "
                f"if an anonymiser wrote it, give {column} in a metadata.csv"
            )
        elif column == "exam_id" and patients > 1:
            notes.append(
                f"one {word} id is that of {patients} patients ({most} images, first {first}): they are one "
                "group; if an anonymiser wrote it, give exam_id in a metadata.csv"
            )
        elif len(others) and _suspicious(most, len(known), list(Counter(others).values())):
            notes.append(
                f"one {word} id has {most} of {counted(len(known), 'image')} (first {first}), the others "
                f"{median(Counter(others).values()):g} at the median: if it is a word for unknown, leave "
                f"{column} empty there"
            )
    return notes


def _suspicious(most: int, known: int, others: Sequence[int]) -> bool:
    return most >= LEAST and most >= SHARE * known and most >= TIMES * median(others)


def shared_ids(listings: Mapping[str, Listing]) -> list[str]:
    """Sentences about patient ids that two sources with numbers of their own have in common."""
    own = [(name, _patients(listing)) for name, listing in listings.items() if listing.layout in OWN_NUMBERS]
    return [_shared(one, other, len(ids & more)) for one, ids, other, more in _pairs(own) if ids & more]


def shared_header_ids(samples: pd.DataFrame, origins: Sequence[str], listed: Sequence[Record]) -> list[str]:
    """Note ids of DICOM headers that sources share; they are known after decoding, `origins` name each row's
    source.
    """
    found: dict[str, set[str]] = {name: set() for name in origins}
    rows = zip(samples["patient_id"], samples["status"], origins, listed, strict=True)
    for patient, status, origin, record in rows:
        if patient and status == "ok" and not record.patient_id:
            found[origin].add(patient)
    return [
        _shared(one, other, len(ids & more))
        for one, ids, other, more in _pairs(list(found.items()))
        if ids & more
    ]


def _pairs(found: Sequence[tuple[str, set[str]]]) -> list[tuple[str, set[str], str, set[str]]]:
    return [(*one, *other) for position, one in enumerate(found) for other in found[position + 1 :]]


def _patients(listing: Listing) -> set[str]:
    return {record.patient_id for record in listing.records if record.problem is None} - {""}


def _shared(one: str, other: str, count: int) -> str:
    return (
        f"{one} and {other} have {count} patient ids in common, which are taken for the same people; if each "
        "source numbers its own patients, keep them apart with --separate-patients"
    )


def keep_apart(name: str, records: Sequence[Record]) -> list[Record]:
    """The records of one source with its name before the ids of patients and exams."""
    return [
        replace(
            record,
            patient_id=f"{name}/{record.patient_id}" if record.patient_id else "",
            exam_id=f"{name}/{record.exam_id}" if record.exam_id else "",
        )
        for record in records
    ]


def keep_header_ids_apart(
    samples: pd.DataFrame, origins: Sequence[str], listed: Sequence[Record]
) -> pd.DataFrame:
    """The samples with their source's name before ids that come from headers."""
    samples = samples.copy()
    for column in ("patient_id", "exam_id"):
        samples[column] = [
            f"{origin}/{value}" if value and not getattr(record, column) else value
            for value, origin, record in zip(samples[column], origins, listed, strict=True)
        ]
    return samples.assign(group_id=samples["patient_id"])
