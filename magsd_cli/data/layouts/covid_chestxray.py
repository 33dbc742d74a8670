"""covid-chestxray-dataset (Cohen et al. 2020, github.com/ieee8023/covid-chestxray-dataset), as cloned.

Contract: ``metadata.csv`` with patientid, finding, view, modality, folder, filename; images in ``images/``.
A finding is a path such as "Pneumonia/Viral/COVID-19": label "COVID-19" where that is part of it, "Pneumonia"
for any other pneumonia, "Normal" for "No Finding", else the finding's first part; "todo" and "Unknown" are
unlabelled. The path stays in `findings`. CT rows are left out (ct_slice), lateral views too unless they are
asked for. Patients are ``cohen-<patientid>``.
"""

from __future__ import annotations

from pathlib import Path

from magsd_cli.data.folders.tree import walk
from magsd_cli.data.layouts.listing import (
    VIEWS,
    Listing,
    Record,
    count_notes,
    count_skipped,
    label_of_finding,
    relative_id,
    unlisted,
)
from magsd_cli.data.layouts.table import find_table, header_of, lenient_rows
from magsd_cli.data.unicode_forms import on_disk

TABLE = "metadata.csv"
COLUMNS = ("patientid", "finding", "view", "modality", "filename")
NO_IMAGES = ("annotations", "scripts", "docs", "volumes")


def recognise(source: Path) -> bool:
    """Its own metadata.csv is there."""
    table = find_table(source, TABLE)
    return table is not None and set(COLUMNS) <= set(header_of(table, COLUMNS))


def read(source: Path) -> Listing:
    """List the rows of the table; a file that is listed twice counts once."""
    records: dict[Path, Record] = {}
    table = find_table(source, TABLE) or source / TABLE
    for row in lenient_rows(table, COLUMNS):
        path = on_disk(source / (row.get("folder") or "images") / row["filename"], source)
        records.setdefault(path, record_of_row(source, path, row, "cohen", "covid-chestxray-dataset"))
    listed = list(records.values())
    tree = walk(source)
    listed += unlisted(source, set(records), table.name, skip=NO_IMAGES, tree=tree)
    left_out = {**count_skipped(tree, NO_IMAGES, records), **tree.without([table])}
    return Listing("covid-chestxray", listed, notes=count_notes(source, listed), left_out=left_out)


def record_of_row(source: Path, path: Path, row: dict[str, str], prefix: str, collection: str) -> Record:
    """Make the record of the image at `path` from its row; `prefix` goes before its patient's id."""
    problem = None
    if row["modality"].strip().lower() not in ("x-ray", "xray", "cxr", ""):
        problem = ("ct_slice", "the table says that it is a CT, not a radiograph")
    elif not path.is_file():
        problem = ("not_found", f"listed in {TABLE}, but missing")
    return Record(
        path=path,
        image_id=relative_id(path, source),
        label=label_of_finding(row["finding"]),
        patient_id=f"{prefix}-{row['patientid']}" if row["patientid"] else "",
        sex=row.get("sex", ""),
        age=row.get("age", ""),
        view=VIEWS.get(row["view"].replace("_", " ").upper(), ""),
        source=collection,
        findings=row["finding"],
        problem=problem,
    )
