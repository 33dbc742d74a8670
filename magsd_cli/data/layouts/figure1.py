"""Figure 1 COVID-19 chest X-ray data (github.com/agchung/Figure1-COVID-chestxray-dataset), as cloned.

Contract: ``metadata.csv`` with patientid, finding, view, modality, but no file column; an image is
``images/<patientid>.<png|jpg|...>``. Labels as in covid-chestxray-dataset; an empty finding is unlabelled.
Patients are ``figure1-<patientid>``.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.layouts.covid_chestxray import record_of_row
from magsd_cli.data.layouts.listing import Listing, Record, count_notes, list_files, unlisted
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
    return record_of_row(source, path, row, "figure1", "Figure 1")
