"""Manifests as programs and people save them: read, or refused with the reason; never replaced by folders."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from magsd_cli.data.layouts import Listing, read_layout
from magsd_cli.data.layouts.listing import left_out_in_words
from magsd_cli.errors import UsageError

PLAIN = "path,label,patient_id\nA/1.png,covid,p1\nB/2.png,normal,p2\n"


def lay(folder: Path, table: str | bytes, name: str = "metadata.csv") -> Path:
    for image in ("A/1.png", "B/2.png"):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(b"x")
    (folder / name).write_bytes(table.encode() if isinstance(table, str) else table)
    return folder


def told(listing: Listing) -> list[tuple[str, str | None, str]]:
    return [(r.image_id, r.label, r.patient_id) for r in listing.records if r.problem is None]


@pytest.mark.parametrize(
    "table",
    [
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace("\n", "\r\n"),
        "sep=;\n" + PLAIN.replace(",", ";"),
        "Chest X-rays of 2020\n\n" + PLAIN,
        "Chest X-rays;;\n;;\n" + PLAIN.replace(",", ";"),
        PLAIN.replace("path,label,patient_id", "Path,LABEL,Patient ID"),
        PLAIN.replace("path,label,patient_id", '"path"," Label ","patient-id"'),
        "path,label,patient_id,,\nA/1.png,covid,p1,,\nB/2.png,normal,p2,,\n,,,,\n",
        ",path,label,patient_id\n0,A/1.png,covid,p1\n1,B/2.png,normal,p2\n",
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-32"),
        "path,label,patient_id\nA\\1.png,covid,p1\nB\\2.png,normal,p2\n",
    ],
)
@pytest.mark.parametrize("name", ["metadata.csv", "Metadata.CSV"])
def test_read_whoever_saved_it(table: str | bytes, name: str, tmp_path: Path) -> None:
    listing = read_layout(lay(tmp_path, table, name))
    assert listing.layout == "csv"
    assert told(listing) == [("A/1.png", "covid", "p1"), ("B/2.png", "normal", "p2")]
    assert left_out_in_words(listing) == ""


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("metadata.csv", PLAIN.replace("path", "filename"), "row 1: column path is missing"),
        ("metadata.csv", PLAIN.replace("path", "filename"), "there are filename, label, patient_id"),
        ("metadata.csv", PLAIN.replace("patient_id", "case"), "column patient_id is missing"),
        ("metadata.csv", "", "column path, label, patient_id is missing"),
        ("metadata.csv", PLAIN.replace("covid", "Neumonía").encode("cp1252"), "row 2: not UTF-8"),
        ("metadata.csv", b"PK\x03\x04 an xlsx\x00", "metadata.csv: row 1"),
        ("METADATA.XLSX", b"PK", "save it as metadata.csv"),
        ("metadata.csv", PLAIN + "A/1.png,covid\n", "row 4: 2 fields, the header has 3"),
        ("metadata.csv", "Title\n" + PLAIN + "A/1.png,x,y\n", "row 5: A/1.png: two labels (first in row 3)"),
    ],
)
def test_refused_with_the_reason(name: str, table: str | bytes, words: str, tmp_path: Path) -> None:
    lay(tmp_path, table, name)
    with pytest.raises(UsageError) as caught:
        read_layout(tmp_path)
    assert words in str(caught.value)
    assert [r.label for r in read_layout(tmp_path, "folder").records if not r.problem] == ["A", "B"]


def test_two_manifests_are_refused(tmp_path: Path) -> None:
    lay(lay(tmp_path, PLAIN), PLAIN, "METADATA.csv")
    with pytest.raises(UsageError, match="keep one of them"):
        read_layout(tmp_path)


def test_a_table_named_itself_is_a_manifest_or_refused(tmp_path: Path) -> None:
    lay(tmp_path, PLAIN.replace(",", ";"), "mine.csv")
    assert len(told(read_layout(tmp_path / "mine.csv"))) == 2
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="column path, label, patient_id is missing"):
        read_layout(tmp_path / "mine.csv")


def test_other_tables_are_mentioned(tmp_path: Path) -> None:
    lay(lay(tmp_path, PLAIN), "x", "other.csv")
    (tmp_path / "notes.xlsx").touch()
    words = left_out_in_words(read_layout(tmp_path))
    assert words == "left out: 1 CSV not read (other.csv), 1 XLSX not read (notes.xlsx)"


WORDS = (
    "nan NaN None none NA N/A n/a <NA> null NULL unknown UNKNOWN ? - -- #N/A NaT undefined missing -1 XXXX"
)


@pytest.mark.parametrize(
    "word", [*WORDS.split(), "not available", "Anonymous", "DEIDENTIFIED", "REMOVED", " "]
)
def test_a_word_for_unknown_is_no_patient(word: str, tmp_path: Path) -> None:
    table = f"path,label,patient_id,exam_id,source\nA/1.png,covid,{word},{word},x\nB/2.png,normal,p2,e2,y\n"
    first, second = read_layout(lay(tmp_path, table)).records
    assert (first.patient_id, first.exam_id, second.patient_id, second.exam_id) == ("", "", "p2", "e2")


@pytest.mark.parametrize("column", ["sex", "age", "view", "source", "split", "exam_id", "findings"])
def test_a_word_for_unknown_in_any_column(column: str, tmp_path: Path) -> None:
    table = f"path,label,patient_id,{column}\nA/1.png,covid,1,nan\nB/2.png,normal,2,N/A\n"
    records = read_layout(lay(tmp_path, table)).records
    expected = {"nan", "N/A"} if column == "findings" else {""}  # what was found is kept as it stands
    assert {getattr(record, column) for record in records} == expected


@pytest.mark.parametrize("word", ["nan", "None", "NA", "N/A", "<NA>", "unknown", "?", "#N/A", "null", "todo"])
def test_a_missing_label_is_refused_with_its_row(word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"row 3: label .* is a word for unknown"):
        read_layout(lay(tmp_path, f"path,label,patient_id\nA/1.png,covid,1\nB/2.png,{word},2\n"))


def test_an_empty_label_is_unlabelled(tmp_path: Path) -> None:
    records = read_layout(lay(tmp_path, "path,label,patient_id\nA/1.png,covid,1\nB/2.png,,2\n")).records
    assert [record.label for record in records] == ["covid", None]


def test_published_tables_know_the_words_too(tmp_path: Path) -> None:
    rows = [
        "patientid,sex,age,finding,view,modality,folder,filename",
        "nan,None,N/A,COVID-19,PA,X-ray,images,a.png",
        "4,F,52,nan,PA,X-ray,images,b.png",
        "<NA>,F,52,Unknown,PA,X-ray,images,c.png",
    ]
    (tmp_path / "images").mkdir()
    for name in "abc":
        (tmp_path / f"images/{name}.png").touch()
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    listing = read_layout(tmp_path)
    assert listing.layout == "covid-chestxray"
    assert [(r.label, r.patient_id, r.sex, r.age) for r in listing.records] == [
        ("COVID-19", "", "", ""),
        (None, "cohen-4", "F", "52"),
        (None, "", "F", "52"),
    ]


def test_actualmed_names_its_images(tmp_path: Path) -> None:
    table = "patientid,sex,age,finding,view,modality,imagename\nCR.1,,,No finding,PA,X-ray,x.1.jpg\n"
    (tmp_path / "images").mkdir()
    (tmp_path / "images/x.1.jpg").touch()
    (tmp_path / "metadata.csv").write_text(table)
    listing = read_layout(tmp_path)
    assert [(r.image_id, r.label, r.patient_id, r.problem) for r in listing.records] == [
        ("images/x.1.jpg", "Normal", "figure1-CR.1", None)
    ]


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_path_is_found_in_both_unicode_forms(on_disk: str, in_table: str, tmp_path: Path) -> None:
    there = unicodedata.normalize(on_disk, "imágenes/niño.png")
    listed = unicodedata.normalize(in_table, "imágenes/niño.png")
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).touch()
    (tmp_path / "metadata.csv").write_text(f"path,label,patient_id\n{listed},Neumonía,p\n")
    (tmp_path / "boxes.csv").write_text(f"path,x,y,width,height\n{there},1,2,3,4\n")
    listing = read_layout(tmp_path)
    assert [(record.path, record.problem) for record in listing.records] == [(tmp_path / there, None)]
    assert listing.boxes is not None
    assert list(listing.boxes["image_id"]) == [listing.records[0].image_id]
    both = f"path,label,patient_id\n{listed},Neumonía,p\n{there},Neumonía,p\n"
    (tmp_path / "metadata.csv").write_text(both)
    with pytest.raises(UsageError, match=r"row 3: .*listed twice"):
        read_layout(tmp_path)


def test_blanks_at_the_ends_of_folders(tmp_path: Path) -> None:
    (tmp_path / "COVID ").mkdir()
    (tmp_path / "COVID /1.png").touch()
    (tmp_path / "metadata.csv").write_text("path,label,patient_id\nCOVID/1.png, covid ,p\n")
    (record,) = read_layout(tmp_path).records
    assert (record.path, record.label) == (tmp_path / "COVID /1.png", "covid")
