"""Figure 1 COVID-19 chest X-ray data (github.com/agchung/Figure1-COVID-chestxray-dataset), as cloned.

Contract: ``metadata.csv`` with patientid, finding, view, modality, but no file column; an image is
``images/<patientid>.<png|jpg|...>``. Labels as in covid-chestxray-dataset; an empty finding is unlabelled.
Patients are ``figure1-<patientid>``.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.layouts.listing import (
    VIEWS,
    Listing,
    Record,
    count_notes,
    label_of_finding,
    list_files,
    relative_id,
    unlisted,
)
from magsd_cli.data.layouts.table import header_of, lenient_rows

TABLE = "metadata.csv"
COLUMNS = ("patientid", "finding", "view", "modality")


def recognise(source: Path) -> bool:
    """A metadata.csv with patients and findings, but without file names."""
    header = set(header_of(source / TABLE))
    return set(COLUMNS) <= header and "filename" not in header


def read(source: Path) -> Listing:
    """List the rows of the table with the image of each patient."""
    there = {path.stem: path for path in list_files(source / "images")}
    records = [_record(source, there, row) for row in lenient_rows(source / TABLE, COLUMNS)]
    records += unlisted(source, {record.path for record in records}, TABLE)
    return Listing("figure1", records, notes=count_notes(source, records))


def _record(source: Path, there: dict[str, Path], row: dict[str, str]) -> Record:
    name = row["patientid"]
    path = there.get(name, source / "images" / f"{name}.jpg")
    problem = None
    if row["modality"].lower() == "ct":
        problem = ("ct_slice", "the table says that it is a CT, not a radiograph")
    elif name not in there:
        problem = ("not_found", f"listed in {TABLE}, but not there")
    return Record(
        path=path,
        image_id=relative_id(path, source),
        label=label_of_finding(row["finding"]),
        patient_id=f"figure1-{name}",
        sex=row.get("sex", ""),
        age=row.get("age", ""),
        view=VIEWS.get(row["view"].replace("_", " ").upper(), ""),
        source="Figure 1",
        findings=row["finding"],
        problem=problem,
    )
