"""The commands: what lies in the folders afterwards, and what does not."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

hd = pytest.importorskip("highdicom", reason="results as DICOM need highdicom (extra dicom)")

from films import NAME, PATIENT, film, film_model  # noqa: E402

from magsd_cli.errors import NoInputError, UsageError  # noqa: E402
from magsd_cli.hospital.regions import localize_with_objects  # noqa: E402
from magsd_cli.hospital.reports import predict_with_reports  # noqa: E402
from magsd_cli.hospital.result_folder import SC, SEG  # noqa: E402
from magsd_cli.inference.predict import PredictOptions  # noqa: E402
from magsd_cli.localization.localize import LocalizeOptions  # noqa: E402
from magsd_cli.settings import Map  # noqa: E402

Captured = pytest.CaptureFixture[str]


def predict(folder: Path, *, resume: bool = True) -> int:
    options = PredictOptions(
        [folder / "in"], film_model(folder), folder / "runs", folder / "t.parquet", resume=resume, workers=1
    )
    return predict_with_reports(options, folder / "sr", None)


def objects(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))


def test_one_report_a_study_is_made_once_and_names_nobody_outside(tmp_path: Path, capfd: Captured) -> None:
    for study, number in (("1.2.3", 1), ("1.2.3", 2), ("1.2.4", 3)):
        film(tmp_path / f"in/{number}.dcm", study, number)
    assert predict(tmp_path) == 0
    made = {path: path.read_bytes() for path in objects(tmp_path / "sr")}
    assert len(made) == 2
    assert predict(tmp_path) == 0
    assert {path: path.read_bytes() for path in objects(tmp_path / "sr")} == made
    words = "".join(capfd.readouterr())
    assert "2 made" in words
    assert "2 there already" in words
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "sr", *made)]
    assert modes == [0o700, 0o600, 0o600]
    others = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    for secret in (PATIENT, NAME, "Müller", "1.2.3"):
        assert secret not in words
        assert not [path for path in tmp_path.joinpath("sr").iterdir() if secret in path.name]
    for secret in (PATIENT, "Müller"):
        assert not [path for path in others if secret.encode() in path.read_bytes()]


def test_a_study_that_grew_gets_a_report_that_names_the_first(tmp_path: Path) -> None:
    film(tmp_path / "in/1.dcm", "1.2.3", 1)
    predict(tmp_path)
    (first,) = objects(tmp_path / "sr")
    film(tmp_path / "in/2.dcm", "1.2.3", 2)
    assert predict(tmp_path) == 0
    second = pydicom.dcmread(next(path for path in objects(tmp_path / "sr") if path != first))
    named = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == pydicom.dcmread(first).SOPInstanceUID
    assert second.InstanceNumber == 2


def test_files_without_a_report_are_named_and_end_with_3(tmp_path: Path, capfd: Captured) -> None:
    film(tmp_path / "in/1.dcm")
    for number, patient in ((2, "P2"), (3, "P3")):
        film(tmp_path / f"in/{number}.dcm", "1.2.5", number, patient)
    cv2.imwrite(str(tmp_path / "in/4.png"), np.random.default_rng(0).integers(0, 256, (80, 80), np.uint8))
    assert predict(tmp_path) == 3
    assert len(objects(tmp_path / "sr")) == 1
    words = capfd.readouterr().err
    assert "4.png: no DICOM report: not a DICOM file" in words
    assert "3.dcm: no DICOM report: its images name two patients" in words


def test_pictures_alone_give_their_table_and_no_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/4.png"), np.random.default_rng(0).integers(0, 256, (80, 80), np.uint8))
    with pytest.raises(NoInputError, match="no DICOM report"):
        predict(tmp_path)
    assert (tmp_path / "t.parquet").exists()


def test_a_folder_that_others_may_read_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    film(tmp_path / "in/1.dcm")
    (tmp_path / "sr").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="chmod 700"):
        predict(tmp_path)
    assert not (tmp_path / "t.parquet").exists()


def test_the_folder_of_reports_is_no_input(tmp_path: Path) -> None:
    film(tmp_path / "in/1.dcm")
    options = PredictOptions(
        [tmp_path], film_model(tmp_path), tmp_path / "runs", tmp_path / "t.parquet", resume=True, workers=1
    )
    assert [predict_with_reports(options, tmp_path / "sr", None) for _ in range(2)] == [0, 0]


def test_the_segmentation_lies_on_the_film(tmp_path: Path) -> None:
    path = film(tmp_path / "in/1.dcm")
    options = LocalizeOptions([path], film_model(tmp_path), tmp_path / "runs")
    folders = {SEG: tmp_path / "seg", SC: tmp_path / "sc"}
    folder, code = localize_with_objects(options, folders)
    assert code == 0
    source = pydicom.dcmread(path)
    found = hd.seg.segread(objects(tmp_path / "seg")[0])
    assert found.get_source_image_uids() == [("1.2.3", "1.2.3.1", "1.2.3.1.1")]
    assert (found.Rows, found.Columns, list(found.PatientOrientation)) == (80, 96, ["L", "F"])
    assert (str(found.PatientName), found.StudyInstanceUID) == (NAME, source.StudyInstanceUID)
    mask = found.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)[0] > 0
    drawn = cv2.imread(str(folder / "masks/1.png"), cv2.IMREAD_GRAYSCALE) > 0
    assert 0 < drawn.mean() < 1
    np.testing.assert_array_equal(mask, drawn)
    capture = pydicom.dcmread(objects(tmp_path / "sc")[0])
    overlay = cv2.imread(str(folder / "overlays/1.png"))[..., ::-1]
    np.testing.assert_array_equal(capture.pixel_array, overlay)
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_another_map_is_another_object(tmp_path: Path) -> None:
    path, model = film(tmp_path / "in/1.dcm"), film_model(tmp_path, class_maps=True)
    for kind in (Map.attention, Map.evidence):
        options = LocalizeOptions([path], model, tmp_path / "runs", map=kind)
        localize_with_objects(options, {SEG: tmp_path / "seg", SC: tmp_path / "sc"})
    found = [hd.seg.segread(one) for one in objects(tmp_path / "seg")]
    labels = {one.SegmentSequence[0].SegmentLabel: one for one in found}
    assert sorted(labels) == ["Attended region", "Evidence for the predicted class"]
    assert not np.array_equal(*(one.pixel_array for one in found))
    assert len(objects(tmp_path / "sc")) == 2


def test_segmentations_are_kept_and_have_no_uid_by_lot(tmp_path: Path) -> None:
    path = film(tmp_path / "in/1.dcm", PixelSpacing=[0.2, 0.2])
    options = LocalizeOptions([path], film_model(tmp_path), tmp_path / "runs")
    localize_with_objects(options, {SEG: tmp_path / "seg"})
    before = {one: one.read_bytes() for one in objects(tmp_path / "seg")}
    localize_with_objects(options, {SEG: tmp_path / "seg"})
    assert {one: one.read_bytes() for one in objects(tmp_path / "seg")} == before
    localize_with_objects(options, {SEG: tmp_path / "again"})
    first, second = (hd.seg.segread(objects(tmp_path / name)[0]) for name in ("seg", "again"))
    uids = [
        {str(element.value) for element in one.iterall() if element.VR == "UI"} for one in (first, second)
    ]
    assert uids[0] == uids[1]
