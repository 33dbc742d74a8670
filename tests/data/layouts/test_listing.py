"""Folder of classes, manifest, loose images: what is listed, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from magsd_cli.data.layouts import read_layout
from magsd_cli.errors import NoInputError, UsageError

HEADER = "path,label,patient_id"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def manifest(folder: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n", encoding=encoding)
    return folder


def test_folder_of_classes(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "COVID-19/b.png",
        "COVID-19/deep/a.png",
        "Normal/a.dcm",
        ".git/x",
        "Normal/.DS_Store",
        "README.md",
    )
    listing = read_layout(tmp_path)
    assert listing.layout == "folder"
    assert [(r.image_id, r.label) for r in listing.records] == [
        ("COVID-19/b.png", "COVID-19"),
        ("COVID-19/deep/a.png", "COVID-19"),
        ("Normal/a.dcm", "Normal"),
    ]
    assert {r.patient_id for r in listing.records} == {""}


def test_a_folder_for_each_patient_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, *(f"patient{number}/1.dcm" for number in range(30)))
    assert read_layout(tmp_path).layout == "unlabelled"
    assert read_layout(tmp_path, "folder").layout == "folder"


def test_files_beside_the_classes_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.png", "B/1.png", "lost.png")
    lost = [r for r in read_layout(tmp_path).records if r.problem]
    assert [(r.image_id, r.problem[0]) for r in lost if r.problem] == [("lost.png", "unlisted")]


def test_loose_images(tmp_path: Path) -> None:
    listing = read_layout(touch(tmp_path, "b.png", "a.jpg", "only/c.png"))
    assert listing.layout == "unlabelled"
    assert [(r.image_id, r.label) for r in listing.records] == [
        ("a.jpg", None),
        ("b.png", None),
        ("only/c.png", None),
    ]
    assert [r.image_id for r in read_layout(tmp_path / "a.jpg").records] == ["a.jpg"]


def test_odd_things_get_a_record(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert {r.image_id for r in read_layout(tmp_path).records} == {"folder.png", "dangling.png", "loop"}


def test_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "i/a b.png", "i/c.png", "i/extra.png")
    manifest(
        tmp_path,
        'i/a b.png,"Other, viral",p1,F,55,PA,x',
        "i/c.png,,,,,,",
        header=HEADER + ",sex,age,view,more",
    )
    listing = read_layout(tmp_path)
    assert listing.layout == "csv"
    first, second, extra = listing.records
    assert (first.label, first.patient_id, first.sex, first.age, first.view) == (
        "Other, viral",
        "p1",
        "F",
        "55",
        "PA",
    )
    assert (second.label, second.patient_id) == (None, "")
    assert extra.problem == ("unlisted", "not listed in metadata.csv")


def test_a_manifest_named_itself(tmp_path: Path) -> None:
    manifest(touch(tmp_path, "a.png"), "a.png,x,p").joinpath("metadata.csv").rename(tmp_path / "mine.csv")
    listing = read_layout(tmp_path / "mine.csv")
    assert listing.layout == "csv"
    assert [(r.image_id, r.label) for r in listing.records] == [("a.png", "x")]


def test_byte_order_mark_is_fine(tmp_path: Path) -> None:
    manifest(touch(tmp_path, "a.png"), "a.png,x,p", encoding="utf-8-sig")
    assert read_layout(tmp_path).layout == "csv"


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["a.png,x"], "path,label", "row 1: column patient_id is missing"),
        (["a.png,x,p"], "path,label,label,patient_id", "row 1"),
        (["a.png,x,p", "a.png,y,p"], HEADER, "row 3: a.png: two labels (first in row 2)"),
        (["a.png,x,p", "./a.png,x,p"], HEADER, "row 3: a.png: listed twice"),
        (["a.png,x,p", "b.png,x"], HEADER, "row 3: 2 fields, the header has 3"),
        (["a.png,x,p", "b.png,x,p,q"], HEADER, "row 3: 4 fields"),
        (["/etc/passwd,x,p"], HEADER, "row 2: '/etc/passwd': leaves the folder"),
        (["../a.png,x,p"], HEADER, "leaves the folder"),
        (["C:/a.png,x,p"], HEADER, "leaves the folder"),
        (["i/../../a.png,x,p"], HEADER, "leaves the folder"),
        ([",x,p"], HEADER, "row 2: '': empty"),
        (["a.png,x,p,train", "b.png,x,p,test"], HEADER + ",split", "row 3: its patient is in two splits"),
        (['a.png,"x,p'], HEADER, "not readable as CSV"),
    ],
)
def test_contradictions_are_refused_with_their_row(
    rows: list[str], header: str, words: str, tmp_path: Path
) -> None:
    manifest(touch(tmp_path, "a.png", "b.png"), *rows, header=header)
    with pytest.raises(UsageError) as caught:
        read_layout(tmp_path, "csv")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_not_utf8_is_refused_with_its_row(tmp_path: Path) -> None:
    manifest(touch(tmp_path, "a.png"), "a.png,Lungenentzündung,p", encoding="latin-1")
    with pytest.raises(UsageError, match="row 2: not UTF-8"):
        read_layout(tmp_path)


def test_boxes_and_masks_beside_the_manifest(tmp_path: Path) -> None:
    manifest(touch(tmp_path, "images/A/x.png", "lung_masks/A/x.png"), "images/A/x.png,A,p")
    (tmp_path / "boxes.csv").write_text("path,label,x,y,width,height\nimages/A/x.png,A,1,2,3.5,4\n")
    listing = read_layout(tmp_path)
    assert listing.boxes is not None
    assert listing.boxes.to_dict("records") == [
        {"image_id": "images/A/x.png", "label": "A", "x": 1.0, "y": 2.0, "width": 3.5, "height": 4.0}
    ]
    assert listing.masks == {"images/A/x.png": tmp_path / "lung_masks/A/x.png"}
    assert len(listing.records) == 1
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\nimages/A/x.png,1,2,-3,4\n")
    with pytest.raises(UsageError, match="row 2"):
        read_layout(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="not found"):
        read_layout(tmp_path / "none")
    with pytest.raises(NoInputError, match="no images"):
        read_layout(tmp_path)
    with pytest.raises(UsageError, match="did you mean folder"):
        read_layout(tmp_path, "foldr")
