"""Each public layout: recognised by itself, with the right labels, patients, views, boxes and masks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from magsd_cli.data.layouts import Listing, Record, read_layout
from magsd_cli.data.layouts.listing import Outlines, label_of_finding
from magsd_cli.errors import UsageError

PICTURE = cv2.imencode(".png", np.arange(512 * 256, dtype=np.uint32).reshape(512, 256).astype(np.uint8))[
    1
].tobytes()


def lay(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def by_id(listing: Listing) -> dict[str, Record]:
    return {record.image_id: record for record in listing.records}


def codes(listing: Listing) -> dict[str, int]:
    return dict(Counter(record.problem[0] for record in listing.records if record.problem))


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)


def test_chestxray8(tmp_path: Path) -> None:
    table = NIH + (
        "00000001_000.png,Edema|Pneumonia,0,1,058Y,F,AP,2,2,1,1,\n"
        "00000002_000.png,No Finding,0,2,414,M,PA,2,2,1,1,\n"
        "00000003_000.png,Hernia,0,3,40,M,PA,2,2,1,1,\n"
        "00000004_000.png,No Finding,0,4,40,M,PA,2,2,1,1,\n"
    )
    boxes = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,512,256,100,40,,,\n"
    lay(
        tmp_path,
        {
            "Data_Entry_2017.csv": table,
            "BBox_List_2017.csv": boxes,
            "images_001/images/00000001_000.png": PICTURE,
            "images_001/images/00000002_000.png": PICTURE,
            "images_002/images/00000003_000.png": PICTURE,
            "images_002/images/00000009_000.png": PICTURE,
        },
    )
    listing = read_layout(tmp_path)
    assert listing.layout == "chestxray8"
    records = by_id(listing)
    first = records["00000001_000.png"]
    assert (first.label, first.patient_id, first.sex, first.age, first.view) == (
        "Pneumonia",
        "nih-1",
        "F",
        "58",
        "AP",
    )
    assert (records["00000002_000.png"].label, records["00000002_000.png"].age) == ("Normal", "")
    assert codes(listing) == {"other_finding": 1, "not_found": 1, "unlisted": 1}
    assert listing.boxes is not None
    # 256 x 512 pixels: x is halved twice, y once
    assert listing.boxes.values.tolist() == [["00000001_000.png", "Infiltrate", 128.0, 128.0, 25.0, 20.0]]
    assert len(listing.notes) == 2


def test_covid_chestxray(tmp_path: Path) -> None:
    rows = [
        "patientid,sex,age,finding,view,modality,folder,filename",
        "4,F,52,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.png",
        "5,M,30,Pneumonia/Bacterial/Streptococcus,AP Supine,X-ray,images,b.png",
        "6,,,No Finding,L,X-ray,images,c.png",
        "4,F,52,Pneumonia/Viral/COVID-19,Axial,CT,images,ct.png",
        "7,,,todo,PA,X-ray,images,gone.png",
    ]
    names = ("a", "b", "c", "ct", "extra")
    lay(tmp_path, {"metadata.csv": "\n".join(rows), **{f"images/{name}.png": PICTURE for name in names}})
    listing = read_layout(tmp_path)
    assert listing.layout == "covid-chestxray"
    records = by_id(listing)
    assert [records[f"images/{n}.png"].label for n in "abc"] == ["COVID-19", "Pneumonia", "Normal"]
    assert [records[f"images/{n}.png"].view for n in "abc"] == ["PA", "AP", "L"]
    assert records["images/a.png"].patient_id == "cohen-4"
    assert codes(listing) == {"ct_slice": 1, "not_found": 1, "unlisted": 1}


def darwin(filename: str, *tags: str, polygon: list[tuple[float, float]] | None = None) -> str:
    annotations: list[dict[str, Any]] = [{"name": tag, "tag": {}} for tag in tags]
    if polygon:
        annotations.append({"name": "Lung", "polygon": {"path": [{"x": x, "y": y} for x, y in polygon]}})
    image = {"filename": filename, "width": 100, "height": 50}
    return json.dumps({"image": image, "annotations": annotations})


def test_v7(tmp_path: Path) -> None:
    square = [(10.0, 10.0), (60.0, 10.0), (60.0, 40.0)]
    lay(
        tmp_path,
        {
            "annotations/1.json": darwin(
                "1.jpg",
                "Viral Pneumonia",
                "COVID-19",
                "PatientID:48",
                "Sex/M",
                "Age:68",
                "View/PA",
                polygon=square,
            ),
            "annotations/2.json": darwin("2.jpg", "Bacterial Pneumonia", "View/AP_Supine"),
            "annotations/3.json": darwin("3.jpg", "No Pneumonia (healthy)"),
            "annotations/4.json": darwin("4.jpg", "COVID-19", "CT"),
            "annotations/5.json": darwin("5.jpg", "Fungal Pneumonia"),
            "annotations/6.json": darwin("6.jpg", "COVID-19"),
            **{f"images/{n}.jpg": PICTURE for n in range(1, 6)},
        },
    )
    listing = read_layout(tmp_path)
    assert listing.layout == "v7"
    records = by_id(listing)
    first = records["images/1.jpg"]
    assert (first.label, first.patient_id, first.sex, first.age, first.view) == (
        "COVID-19",
        "cohen-48",
        "M",
        "68",
        "PA",
    )
    assert records["images/2.jpg"].label == "Bacterial pneumonia"
    assert records["images/3.jpg"].label == "Normal"
    assert codes(listing) == {"ct_slice": 1, "other_finding": 1, "not_found": 1}
    assert listing.masks == {"images/1.jpg": Outlines(100, 50, (tuple(square),))}
    (tmp_path / "annotations/7.json").write_text("{}")
    with pytest.raises(UsageError, match=r"7\.json: not a Darwin annotation"):
        read_layout(tmp_path)


def test_kermany(tmp_path: Path) -> None:
    names = [
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0115-0002.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
        "test/PNEUMONIA/unclear.jpeg",
    ]
    listing = read_layout(lay(tmp_path, dict.fromkeys(names, PICTURE)))
    assert listing.layout == "kermany"
    records = by_id(listing)
    assert [records[n].label for n in names[:4]] == [
        "Normal",
        "Normal",
        "Bacterial pneumonia",
        "Viral pneumonia",
    ]
    assert records[names[2]].patient_id == records[names[3]].patient_id == "kermany-person1"
    assert records[names[0]].patient_id == records[names[1]].patient_id == "kermany-IM-0115"
    assert codes(listing) == {"other_finding": 1}


def test_figure1(tmp_path: Path) -> None:
    rows = "patientid,sex,finding,view,modality\nCOVID-1,F,COVID-19,PA,X-ray\nCOVID-2,,,PA,\nCOVID-3,,,,CT\n"
    lay(tmp_path, {"metadata.csv": rows, "images/COVID-1.png": PICTURE, "images/COVID-2.jpg": PICTURE})
    listing = read_layout(tmp_path)
    assert listing.layout == "figure1"
    first, second, third = listing.records
    assert (first.image_id, first.label, first.patient_id) == (
        "images/COVID-1.png",
        "COVID-19",
        "figure1-COVID-1",
    )
    assert second.label is None
    assert third.problem is not None
    assert third.problem[0] == "ct_slice"


def test_bimcv(tmp_path: Path) -> None:
    stem = "sub-S1_ses-E1_run-1_bp-chest_vp-{}_dx.png"
    lay(
        tmp_path,
        {
            "covid19_posi/participants.tsv": "participant\tage\tgender\nsub-S1\t[70, 71]\tF\n",
            "covid19_posi/derivatives/labels/labels.tsv": "PatientID\tReportID\tLabels\n"
            "sub-S1\tses-E1\t['COVID 19', 'infiltrates']\nsub-S2\tses-E2\t['pneumonia']\nS3\tE3\t['cyst']\n",
            "covid19_posi/sub-S1/ses-E1/mod-rx/" + stem.format("pa"): PICTURE,
            "covid19_posi/sub-S1/ses-E1/mod-rx/" + stem.format("lateral"): PICTURE,
            "covid19_posi/sub-S1/ses-E1/mod-rx/x.json": "{}",
            "covid19_posi/sub-S1/ses-E9/mod-ct/v.nii.gz": b"x",
            "covid19_posi/sub-S2/ses-E2/mod-rx/a_bp-chest_vp-ap_cr.png": PICTURE,
            "covid19_posi/sub-S3/ses-E3/mod-rx/a_bp-chest_vp-ap_cr.png": PICTURE,
            "covid19_posi/sub-S4/ses-E4/mod-rx/a_bp-chest_vp-ap_cr.png": PICTURE,
        },
    )
    listing = read_layout(tmp_path)
    assert listing.layout == "bimcv"
    lateral, frontal, volume, second, third, fourth = listing.records
    assert (frontal.label, frontal.view, frontal.sex, frontal.age) == ("COVID-19", "PA", "F", "70")
    assert (frontal.patient_id, frontal.exam_id) == ("bimcv-sub-S1", "bimcv-ses-E1")
    assert lateral.view == "L"
    assert volume.problem is not None
    assert volume.problem[0] == "ct_slice"
    assert second.label == "Pneumonia"
    assert third.problem is not None
    assert fourth.label == "COVID-19"


def test_finding_paths() -> None:
    assert label_of_finding("Pneumonia/Viral/COVID-19") == "COVID-19"
    assert label_of_finding("Pneumonia") == "Pneumonia"
    assert label_of_finding("COVID-19, ARDS") == "COVID-19"
    assert label_of_finding("Tuberculosis") == "Tuberculosis"
    assert label_of_finding("Unknown") is None
    assert label_of_finding("") is None


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "layout", "labels", "patients", "boxes", "masks"),
    [
        ("chestxray8", "chestxray8", {"Pneumonia": 12, "Normal": 8}, 20, 6, 0),
        ("covid-chestxray-dataset", "covid-chestxray", {"COVID-19": 12}, 12, 0, 0),
        ("covid-19-xray-dataset", "v7", {"COVID-19": 8}, 8, 0, 8),
        ("chest_xray", "kermany", {"Normal": 11, "Bacterial pneumonia": 11, "Viral pneumonia": 11}, 22, 0, 0),
        ("figure1", "figure1", {"COVID-19": 4, None: 1}, 5, 0, 0),
        ("../cxr", "csv", {"COVID-19": 106, "Normal": 387, "Pneumonia": 397}, 611, 34, 106),
    ],
)
def test_the_samples(
    folder: str,
    layout: str,
    labels: dict[str | None, int],
    patients: int,
    boxes: int,
    masks: int,
    shared_data: Path,
) -> None:
    listing = read_layout(shared_data / "layouts" / folder)
    used = [record for record in listing.records if record.problem is None]
    assert listing.layout == layout
    assert dict(Counter(record.label for record in used)) == labels
    assert len({record.patient_id for record in used}) == patients
    assert len(listing.boxes if listing.boxes is not None else ()) == boxes
    assert len(listing.masks) == masks
