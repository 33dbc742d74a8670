"""Figure 1 COVID-19 chest X-ray data (github.com/agchung/Figure1-COVID-chestxray-dataset), as cloned.

Contract: ``metadata.csv`` with patientid, finding, view, modality, but no file column; an image is
``images/<patientid>.<png|jpg|...>``, or named by a column imagename (Actualmed COVID-19 chest X-ray data, of
the same authors). Labels as in covid-chestxray-dataset; an empty finding is unlabelled.
Patients are ``figure1-<patientid>``.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.folders.tree import walk
from magsd_cli.data.layouts.covid_chestxray import record_of_row
from magsd_cli.data.layouts.listing import Listing, Record, count_notes, unlisted
from magsd_cli.data.layouts.table import find_table, header_of, lenient_rows

TABLE = "metadata.csv"
COLUMNS = ("patientid", "finding", "view", "modality")


def recognise(source: Path) -> bool:
    """A metadata.csv with patients and findings, but without file names."""
    table = find_table(source, TABLE)
    header = set(header_of(table, COLUMNS)) if table else set()
    return set(COLUMNS) <= header and not header & {"filename", "path"}


def read(source: Path) -> Listing:
    """List the rows of the table with the image of each patient."""
    table = find_table(source, TABLE) or source / TABLE
    tree = walk(source)
    images = [path for path in tree.files if path.is_relative_to(source / "images")]
    there = {key: path for path in images for key in (path.stem, path.name)}
    records = [_record(source, there, row) for row in lenient_rows(table, COLUMNS)]
    records += unlisted(source, {record.path for record in records}, table.name, tree=tree)
    left_out = tree.without([table])
    return Listing("figure1", records, notes=count_notes(source, records), left_out=left_out)


def _record(source: Path, there: dict[str, Path], row: dict[str, str]) -> Record:
    name = row.get("imagename") or row["patientid"]
    path = there.get(name, source / "images" / (name if row.get("imagename") else f"{name}.jpg"))
    return record_of_row(source, path, row, "figure1", "Figure 1")
