from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pydicom
import pytest

hd = pytest.importorskip("highdicom", reason="results as DICOM need highdicom (extra dicom)")

from films import NAME, PATIENT, film, open_film_model  # noqa: E402

from magsd_cli.errors import UsageError  # noqa: E402
from magsd_cli.hospital.algorithm import Algorithm, algorithm_of  # noqa: E402
from magsd_cli.hospital.codes import SCHEME, class_codes  # noqa: E402
from magsd_cli.hospital.sources import SourceError, open_source  # noqa: E402
from magsd_cli.hospital.structured_report import build_sr, sr_uid  # noqa: E402
from magsd_cli.inference.decision import DecisionRules  # noqa: E402

CLASSES = ("a", "b")
RULES = DecisionRules(CLASSES, positive="b", threshold=0.5)


def algorithm(folder: Path, rules: DecisionRules = RULES, recipe: dict[str, Any] | None = None) -> Algorithm:
    return algorithm_of(open_film_model(folder), rules, class_codes(CLASSES, recipe or {}))


def row(p: float, refer: bool | None = None, reason: str | None = None) -> dict[str, Any]:
    decision = "b" if p >= RULES.threshold else "not b"
    values = {"p_a": 1 - p, "p_b": p, "predicted": "b" if p > 0.5 else "a", "decision": decision}
    return {"status": "ok", **values, "refer": refer, "refer_reason": reason}


def reread(report: Any) -> Any:
    """The report as another program reads it from a file."""
    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return hd.sr.Comprehensive3DSR.from_dataset(pydicom.dcmread(buffer))


def groups(report: Any) -> list[Any]:
    found: list[Any] = report.content.get_image_measurement_groups()
    return found


def said(group: Any) -> dict[str, str]:
    return {e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()}


def test_a_report_has_a_group_for_the_study_and_one_for_each_image(tmp_path: Path) -> None:
    sources = [open_source(film(tmp_path / f"{n}.dcm", number=n)) for n in (1, 2)]
    rows = [row(0.9), row(0.2, True, "unlike_training_images")]
    report = reread(build_sr(sources, rows, algorithm(tmp_path)))
    study, first, second = groups(report)
    values = [[float(m.value) for m in group.get_measurements()] for group in (study, first, second)]
    assert values == [pytest.approx([0.1, 0.9]), pytest.approx([0.1, 0.9]), pytest.approx([0.8, 0.2])]
    assert [said(group)["b"] for group in (study, first, second)] == ["Present", "Present", "Absent"]
    assert said(second)["Reason for the referral"] == "Unlike the training images"
    assert said(study)["Referral to a reader"] == "Refer it to a reader"  # as soon as one image is
    images = [[str(i.referenced_sop_instance_uid) for i in group.source_images] for group in (study, second)]
    assert images == [["1.2.3.1.1", "1.2.3.1.2"], ["1.2.3.1.2"]]


def test_a_report_says_who_made_it_of_whom_and_that_it_is_no_diagnosis(tmp_path: Path) -> None:
    maker = algorithm(tmp_path)
    report = reread(build_sr([open_source(film(tmp_path / "f.dcm"))], [row(0.7)], maker))
    # The source says ISO_IR 100, the report UTF-8: the name is the same.
    assert (str(report.PatientName), report.PatientID, report.StudyInstanceUID) == (NAME, PATIENT, "1.2.3")
    assert (report.SOPClassUID.name, report.CompletionFlag) == ("Comprehensive 3D SR Storage", "COMPLETE")
    group = report.ContentSequence[-1].ContentSequence[0]
    texts = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.TextValue
        for item in group.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning != "Algorithm Parameters"
    }
    assert texts["Comment"] == "Not for clinical diagnosis."
    assert texts["Algorithm Name"] == "magsd deployed"
    parameters = [
        item.TextValue
        for item in group.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Algorithm Parameters"
    ]
    assert f"model_sha256={maker.model_sha256}" in parameters


def test_the_uid_follows_from_images_model_and_settings(tmp_path: Path) -> None:
    one, two = (open_source(film(tmp_path / f"{n}.dcm", number=n)) for n in (1, 2))
    maker = algorithm(tmp_path)
    uid = sr_uid([one, two], maker)
    assert (
        uid
        == sr_uid([two, one], algorithm(tmp_path))
        == build_sr([one, two], [row(0.1), row(0.2)], maker).SOPInstanceUID
    )
    coded = {"codes": {"a": {"scheme": "SCT", "value": "1", "meaning": "A"}}}
    others = [
        sr_uid([one], maker),
        sr_uid([one, two], algorithm(tmp_path, DecisionRules(CLASSES, temperature=2.0))),
        sr_uid([one, two], algorithm(tmp_path, recipe=coded)),
    ]
    assert len({uid, *others}) == 4
    assert pydicom.uid.UID(uid).is_valid


def test_a_grown_study_names_the_earlier_report(tmp_path: Path) -> None:
    one, two = (open_source(film(tmp_path / f"{n}.dcm", number=n)) for n in (1, 2))
    maker = algorithm(tmp_path)
    first = build_sr([one], [row(0.1)], maker)
    second = build_sr([one, two], [row(0.1), row(0.9)], maker, [first])
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert named.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID == named.SeriesInstanceUID


@pytest.mark.parametrize(
    "other", [{"patient": "PID-4712"}, {"patient": ""}, {"study": "1.2.4"}], ids=["two", "unknown", "study"]
)
def test_images_of_two_patients_or_studies_are_refused(tmp_path: Path, other: dict[str, str]) -> None:
    sources = [
        open_source(film(tmp_path / "a.dcm")),
        open_source(film(tmp_path / "b.dcm", number=2, **other)),
    ]
    with pytest.raises(SourceError) as caught:
        build_sr(sources, [row(0.1), row(0.2)], algorithm(tmp_path))
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_source_without_what_a_result_refers_to_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"no {name}"):
        open_source(film(tmp_path / "f.dcm", **{name: ""}))


def test_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 200)
    with pytest.raises(SourceError, match="not a DICOM"):
        open_source(tmp_path / "f.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_the_source_has_wrong_does_not_stop_a_report(tmp_path: Path) -> None:
    odd = {"PatientSex": "X", "PatientBirthDate": "19999999", "StudyDate": "yesterday", "StudyTime": "99"}
    source = open_source(film(tmp_path / "f.dcm", **odd))
    report = build_sr([source], [row(0.1)], algorithm(tmp_path))
    assert (report.PatientSex, report.StudyDate, report.PatientID) == ("", "", PATIENT)


def test_codes_are_the_files_before_the_recipes_before_our_own(tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    file.write_text("class,code,scheme,meaning\nb,840539006,SCT,COVID-19\n")
    recipe = {"codes": {name: {"scheme": "R", "value": "1", "meaning": "x"} for name in ("a", "b")}}
    found = class_codes(("a", "b", "c"), recipe, file)
    assert [found[name].scheme_designator for name in ("a", "b", "c")] == ["R", "SCT", SCHEME]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("class,code,scheme,meaning\nz,1,SCT,Z\n", "no class z"),
        ("class,code,scheme,meaning\na,1,SCT,\n", "line 2: a value is missing"),
        ("klass,code,scheme,meaning\na,1,SCT,A\n", "a value is missing"),
        ("class,code,scheme,meaning\n", "has no codes"),
        ("class,code,scheme,meaning\na,1,SCT," + "x" * 65 + "\n", "at most"),
    ],
)
def test_a_file_of_codes_that_cannot_be_used_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "codes.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=says):
        class_codes(CLASSES, {}, file)


@pytest.mark.parametrize("name", ["x" * 200, "Нормально", "a\\b", "Ж" * 64])
def test_any_class_has_a_code_that_fits(name: str) -> None:
    code = class_codes((name, "b"), {})[name]
    assert len(code.value.encode()) <= 16
    assert len(code.meaning.encode()) <= 64
    assert "\\" not in code.value + code.meaning
    assert code.value != class_codes((name + "2",), {})[name + "2"].value
