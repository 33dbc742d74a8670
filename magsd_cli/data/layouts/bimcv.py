"""BIMCV-COVID19+ and - (Valencian Region Medical Image Bank; de la Iglesia Vaya et al., arXiv:2006.01174).

Written from the published description; no sample was at hand. Contract: ``sub-S*/ses-E*/mod-rx/*.png``, as
such or one folder deeper (``covid19_posi/``); the view is in the name (``_vp-pa_``, ``_vp-ap_``,
``_vp-lateral_`` or ``_vp-ll_``); CT volumes lie in ``mod-ct`` and are left out (ct_slice), as are names that
say another body part (``_bp-``). ``participants.tsv`` gives sex and age; ``derivatives/labels/*.tsv``
(PatientID, ReportID, Labels) the report's labels per session. Label: "COVID-19" where the report says
"COVID 19" (or, without a report, where the collection is the positive one), "Pneumonia" and "Normal" where it
says those, else left out (other_finding). Patients are ``bimcv-sub-S...``, exams their sessions. The
description mentions 10 images (later 23) with radiologists' segmentations of findings, but not where or in
what form they are stored: they are not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from magsd_cli.data.folders.tree import walk
from magsd_cli.data.layouts.listing import VIEWS, Listing, Record, count_notes, is_clutter, readable
from magsd_cli.data.layouts.table import lenient_rows

PEOPLE, REPORTS = "participants.tsv", "derivatives/labels/*.tsv"
NAME = re.compile(r"(?P<subject>sub-[^_/]+)/(?P<session>ses-[^_/]+)/mod-(?P<modality>[^/]+)/")
VIEW = re.compile(r"_vp-([a-z]+)", re.IGNORECASE)
BODY = re.compile(r"_bp-([a-z]+)", re.IGNORECASE)


def recognise(source: Path) -> bool:
    """Folders of subjects with sessions, directly or one folder deeper."""
    return any(True for _ in source.glob("sub-*/ses-*/mod-*")) or any(
        True for _ in source.glob("*/sub-*/ses-*/mod-*")
    )


def read(source: Path) -> Listing:
    """List the images of every session."""
    people = {row["participant"]: row for row in _tables(source, PEOPLE, ("participant",))}
    reports: dict[tuple[str, str], str] = {}
    for row in _tables(source, REPORTS, ("patientid", "reportid", "labels")):
        reports[row["patientid"].removeprefix("sub-"), row["reportid"].removeprefix("ses-")] = row["labels"]
    records = [
        _record(source, path, people, reports)
        for path in sorted(source.glob("**/sub-*/ses-*/mod-*/*"))
        if not is_clutter(path.name) and path.suffix not in (".json", ".tsv")
    ]
    read = {*_paths(source, PEOPLE), *_paths(source, REPORTS)}
    left_out = walk(source).without(read)
    return Listing("bimcv", records, notes=count_notes(source, records), left_out=left_out)


def _paths(source: Path, pattern: str) -> list[Path]:
    return sorted({*source.glob(pattern), *source.glob(f"*/{pattern}")})


def _tables(source: Path, pattern: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    return [row for path in _paths(source, pattern) for row in lenient_rows(path, columns, delimiter="\t")]


def _record(
    source: Path, path: Path, people: dict[str, dict[str, str]], reports: dict[tuple[str, str], str]
) -> Record:
    inside = path.relative_to(source).as_posix()
    place = NAME.search(inside + "/")
    subject, session, modality = place.groups() if place else ("", "", "")
    person = people.get(subject, {})
    report = reports.get((subject.removeprefix("sub-"), session.removeprefix("ses-")))
    label = _label(report, positive="posi" in inside.split("sub-")[0] or "posi" in source.name)
    view, body = VIEW.search(path.name), BODY.search(path.name)
    problem = None
    if modality.lower() != "rx" or ".nii" in path.name:
        problem = ("ct_slice", "of a CT, not a radiograph")
    elif body and body[1].lower() != "chest":
        problem = ("other_body_part", "not a chest")
    elif label is None:
        problem = ("other_finding", "its report names neither COVID-19, pneumonia nor normal")
    return Record(
        path=path,
        image_id=readable(inside),
        label=label,
        patient_id=f"bimcv-{subject}" if subject else "",
        exam_id=f"bimcv-{session}" if session else "",
        sex=person.get("gender", person.get("sex", "")),
        age=_age(person.get("age", person.get("patient_age", ""))),
        view=VIEWS.get(view[1].upper(), "") if view else "",
        source="BIMCV-COVID19",
        findings=report or "",
        problem=problem,
    )


def _age(listed: str) -> str:
    """The first of the ages that a subject's sessions list, as in "[70, 71]"."""
    ages = re.findall(r"\d+", listed)
    return ages[0] if ages else ""


def _label(report: str | None, positive: bool) -> str | None:
    if report is None:
        return "COVID-19" if positive else None
    words = {word.strip(" '\"[]").lower() for word in report.split(",")}
    if words & {"covid 19", "covid-19"}:
        return "COVID-19"
    if any("pneumonia" in word for word in words):
        return "Pneumonia"
    return "Normal" if "normal" in words else None
