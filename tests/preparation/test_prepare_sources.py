"""What prepare says of its sources: ids of everybody, patients numbered alike, what was left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from pictures import dicom_bytes, noise, radiograph

from magsd_cli.artifacts.cache import open_cache
from magsd_cli.errors import UsageError
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.settings import Preprocessing
from magsd_cli.training.folds import make_folds

CLASSES = ("COVID-19", "Normal")


def run(*sources: Path, runs: Path, **options: object) -> tuple[Path, int]:
    given = PrepareOptions(sources, runs, preprocessing=Preprocessing(64), workers=1)
    return prepare(replace(given, **options))  # type: ignore[arg-type]


def films(folder: Path, count: int = 8, first: int = 0) -> Path:
    for number in range(count):
        path = folder / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noise(first + number))
    return folder


def table(folder: Path, patients: list[str]) -> Path:
    rows = [f"{CLASSES[i % 2]}/{i}.png,{CLASSES[i % 2]},{patient}" for i, patient in enumerate(patients)]
    (folder / "metadata.csv").write_text("\n".join(["path,label,patient_id", *rows]))
    return folder


def dicoms(folder: Path, count: int, first: int = 0, **tags: str) -> Path:
    for number in range(count):
        path = folder / CLASSES[number % 2] / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        own = {name: value.format(number) for name, value in tags.items()}
        path.write_bytes(dicom_bytes(radiograph(noise(first + number), **own)))
    return folder


Said = pytest.CaptureFixture[str]


def test_what_is_left_out_is_counted_in_one_line(tmp_path: Path, capsys: Said) -> None:
    source = films(tmp_path / "x")
    for name in ("@eaDir/a.png", "#recycle/b.png", "lung_masks/77.png", ".DS_Store", "list.csv", "lost.png"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"x")
    run(source, runs=tmp_path / "runs")
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out: " in line]
    assert lines[0] == (
        f"prepare: {source}: left out: 1 in no table or class folder, 1 mask or drawing, "
        "2 files of system folders, 1 hidden file, 1 CSV not read (list.csv)"
    )


def test_two_gray_values_are_no_film(tmp_path: Path) -> None:
    source = films(tmp_path / "x")
    cv2.imwrite(str(source / "Normal/odd.png"), (noise(5) > 128).astype("uint8") * 255)
    path, code = run(source, runs=tmp_path / "runs")
    samples = open_cache(path).samples().set_index("image_id")
    assert code == 3
    assert samples.loc["Normal/odd.png", "error_code"] == "mask"


def test_classes_that_look_alike_are_said(tmp_path: Path, capsys: Said) -> None:
    source = films(tmp_path / "x")
    (source / "Normal").rename(source / "covid-19")
    run(source, runs=tmp_path / "runs")
    assert (
        "the classes COVID-19 and covid-19 differ only in case, blanks or dashes" in capsys.readouterr().err
    )


def test_an_id_of_many_images_is_said(tmp_path: Path, capsys: Said) -> None:
    source = table(films(tmp_path / "x", 16), [*["Hospital 1"] * 8, *(f"p{n // 2}" for n in range(8))])
    run(source, runs=tmp_path / "runs")
    said = capsys.readouterr().err
    assert "one patient id has 8 of 16 images (first COVID-19/0.png), the others 2 at the median" in said
    assert "Hospital 1" not in said


def test_patients_of_a_few_images_each_are_fine(tmp_path: Path, capsys: Said) -> None:
    run(table(films(tmp_path / "x", 16), [f"p{n // 4}" for n in range(16)]), runs=tmp_path / "runs")
    assert "patient id" not in capsys.readouterr().err


def test_one_exam_id_for_everybody(tmp_path: Path, capsys: Said) -> None:
    source = dicoms(tmp_path / "x", 8, PatientID="{}7", StudyInstanceUID="1.2.3")
    path, _ = run(source, runs=tmp_path / "runs")
    said = capsys.readouterr().err
    assert "all 8 images have one exam (StudyInstanceUID) id: they are one group" in said
    cache = open_cache(path)
    with pytest.raises(UsageError, match=r"give patient_id and exam_id of your own in a metadata\.csv"):
        make_folds(cache.labels, cache.group_ids, 2, 0)


def test_one_patient_id_for_everybody(tmp_path: Path, capsys: Said) -> None:
    run(dicoms(tmp_path / "x", 8, PatientID="HOSPITAL"), runs=tmp_path / "runs")
    said = capsys.readouterr().err
    assert "all 8 images have one patient id" in said
    assert "HOSPITAL" not in said


def test_a_manifest_replaces_the_ids_of_headers(tmp_path: Path) -> None:
    source = dicoms(tmp_path / "x", 8, PatientID="one", StudyInstanceUID="1.2.3")
    rows = [f"{CLASSES[i % 2]}/{i}.dcm,{CLASSES[i % 2]},p{i},e{i}" for i in range(8)]
    (source / "metadata.csv").write_text("\n".join(["path,label,patient_id,exam_id", *rows]))
    cache = open_cache(run(source, runs=tmp_path / "runs")[0])
    assert sorted(cache.group_ids) == [f"p{i}" for i in range(8)]


def test_an_exam_of_several_patients(tmp_path: Path, capsys: Said) -> None:
    dicoms(tmp_path / "x", 4, PatientID="a{}", StudyInstanceUID="1.2.3")
    for number in range(4, 8):
        path = tmp_path / "x" / CLASSES[number % 2] / f"{number}.dcm"
        path.write_bytes(dicom_bytes(radiograph(noise(number), PatientID=f"a{number}")))
    run(tmp_path / "x", runs=tmp_path / "runs")
    assert "one exam (StudyInstanceUID) id is that of 4 patients (4 images" in capsys.readouterr().err


def two_tables(folder: Path) -> tuple[Path, Path]:
    return (
        table(films(folder / "one", 6), ["1", "1", "2", "2", "3", "3"]),
        table(films(folder / "two", 6, 50), ["1", "1", "2", "2", "4", "4"]),
    )


def test_two_sources_that_number_alike(tmp_path: Path, capsys: Said) -> None:
    one, two = two_tables(tmp_path)
    merged = open_cache(run(one, two, runs=tmp_path / "runs")[0])
    assert "one and two have 2 patient ids in common" in capsys.readouterr().err
    assert set(merged.patient_ids) == {"1", "2", "3", "4"}
    apart = open_cache(run(one, two, runs=tmp_path / "runs", separate_patients=True)[0])
    assert "in common" not in capsys.readouterr().err
    assert set(apart.patient_ids) == {f"one/{n}" for n in "123"} | {f"two/{n}" for n in "124"}
    assert set(apart.group_ids) == set(apart.patient_ids)


def test_headers_of_two_sources_that_number_alike(tmp_path: Path, capsys: Said) -> None:
    one = dicoms(tmp_path / "one", 4, PatientID="{}1")
    two = dicoms(tmp_path / "two", 4, 50, PatientID="{}1")
    merged = open_cache(run(one, two, runs=tmp_path / "runs")[0])
    assert "one and two have 4 patient ids in common" in capsys.readouterr().err
    assert len(set(merged.patient_ids)) == 4
    apart = open_cache(run(one, two, runs=tmp_path / "runs", separate_patients=True)[0])
    assert "in common" not in capsys.readouterr().err
    assert len(set(apart.group_ids)) == 8


def test_sources_with_patients_of_their_own(tmp_path: Path, capsys: Said) -> None:
    one = table(films(tmp_path / "one", 4), list("abcd"))
    two = table(films(tmp_path / "two", 4, 50), list("efgh"))
    run(one, two, runs=tmp_path / "runs")
    assert "in common" not in capsys.readouterr().err
