"""covid-19-xray-dataset (v7labs, github.com/v7labs/covid-19-xray-dataset), as downloaded in Darwin JSON.

Contract: ``annotations/*.json``, one per image, with image.filename (in ``images/``) and annotations that are
tags ("COVID-19", "Viral Pneumonia", "Bacterial Pneumonia", "No Pneumonia (healthy)", "PatientID:48",
"View/PA", "Sex/M", "Age:68") or polygons named "Lung". Label: COVID-19 before bacterial before viral before
normal; others are left out (other_finding). Lung polygons become masks. Its COVID-19 images are those of
covid-chestxray-dataset, with its patient numbers, so patients are ``cohen-<id>`` here as well; images without
a PatientID tag (most of Kermany's children) have an unknown patient.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from magsd_cli.data.folders.tree import walk
from magsd_cli.data.layouts.listing import (
    VIEWS,
    Listing,
    Outlines,
    Record,
    count_notes,
    relative_id,
    unlisted,
)
from magsd_cli.data.missing_words import is_missing_id
from magsd_cli.errors import UsageError

# A tag's start in lower case -> the label; the first that an image has counts.
LABELS = {
    "covid-19": "COVID-19",
    "bacterial pneumonia": "Bacterial pneumonia",
    "viral pneumonia": "Viral pneumonia",
    "no pneumonia": "Normal",
    "healthy": "Normal",
}


def recognise(source: Path) -> bool:
    """Darwin annotations beside a folder of images."""
    return (source / "images").is_dir() and any((source / "annotations").glob("*.json"))


def read(source: Path) -> Listing:
    """List the annotated images. Raises `UsageError` for an annotation that is not Darwin JSON."""
    records, masks = [], {}
    for path in sorted((source / "annotations").glob("*.json")):
        record, outlines = _read_annotation(source, path)
        records.append(record)
        if outlines.polygons:
            masks[record.image_id] = outlines
    records.sort(key=lambda record: record.image_id)
    tree = walk(source)
    records += unlisted(source, {record.path for record in records}, "annotations/", tree=tree)
    return Listing(
        "v7",
        records,
        masks=dict(masks),
        mask_kind="lung",
        notes=count_notes(source, records),
        left_out=tree.without((source / "annotations").glob("*.json")),
    )


def _read_annotation(source: Path, path: Path) -> tuple[Record, Outlines]:
    try:
        document = json.loads(path.read_bytes())
        image, annotations = document["image"], document["annotations"]
        tags = [str(entry["name"]) for entry in annotations if "tag" in entry]
        polygons = [entry["polygon"] for entry in annotations if "polygon" in entry and _is_lung(entry)]
        outlines = Outlines(
            float(image.get("width", 0)),
            float(image.get("height", 0)),
            tuple(ring for polygon in polygons for ring in _rings(polygon)),
        )
        file = source / "images" / Path(str(image["filename"])).name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: not a Darwin annotation ({type(error).__name__}); fetch it again"
        ) from error
    return _record(source, file, tags), outlines


def _is_lung(entry: dict[str, Any]) -> bool:
    return str(entry.get("name", "")).lower().startswith("lung")


def _rings(polygon: dict[str, Any]) -> list[tuple[tuple[float, float], ...]]:
    """A polygon's path, and the additional ones of a shape in several parts."""
    paths = [polygon["path"], *polygon.get("additional_paths", [])]
    return [tuple((float(point["x"]), float(point["y"])) for point in path) for path in paths]


def _record(source: Path, file: Path, tags: list[str]) -> Record:
    lower = [tag.lower() for tag in tags]
    label = next((label for start, label in LABELS.items() if any(t.startswith(start) for t in lower)), None)
    facts = dict(tag.replace("/", ":", 1).split(":", 1) for tag in tags if ":" in tag or "/" in tag)
    patient = facts.get("PatientID", "")
    patient = "" if is_missing_id(patient, zero=False) else patient
    problem = None
    if "ct" in lower:
        problem = ("ct_slice", "its tags say that it is a CT, not a radiograph")
    elif not file.is_file():
        problem = ("not_found", "annotated, but missing")
    elif label is None:
        problem = ("other_finding", "its tags name none of the classes")
    return Record(
        path=file,
        image_id=relative_id(file, source),
        label=label,
        patient_id=f"cohen-{patient}" if patient else "",
        sex=facts.get("Sex", ""),
        age=facts.get("Age", ""),
        view=VIEWS.get(facts.get("View", "").replace("_", " ").upper(), ""),
        source="covid-19-xray-dataset",
        findings="|".join(
            sorted(tag for tag in tags if ":" not in tag and "/" not in tag and tag != "X-ray")
        ),
        problem=problem,
    )
