"""What independent programs say of the objects: dciodvfy, DicomSRValidator, dcmtk's dsrdump."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="results as DICOM need highdicom (extra dicom)")

from films import NAME, film, film_model

from magsd_cli.hospital.regions import localize_with_objects
from magsd_cli.hospital.reports import predict_with_reports
from magsd_cli.hospital.result_folder import SC, SEG
from magsd_cli.inference.predict import PredictOptions
from magsd_cli.localization.localize import LocalizeOptions

PIXELMED = Path("/usr/share/java/pixelmed.jar")
#: A recent Java compiles no stylesheet of this size without.
LIMITS = [f"-Djdk.xml.xpath{kind}Limit=0" for kind in ("TotalOp", "ExprOp", "ExprGrp")]
needs_dciodvfy = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
needs_dsrdump = pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
needs_pixelmed = pytest.mark.skipif(
    not PIXELMED.exists() or shutil.which("java") is None, reason="libpixelmed-java is not installed"
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report about two films, and the segmentation and overlay of one, by kind."""
    folder = tmp_path_factory.mktemp("objects")
    whole = {"StudyDate": "20200101", "StudyTime": "101010", "StudyID": "1", "AccessionNumber": "A1"}
    for number in (1, 2):
        film(folder / f"in/{number}.dcm", "1.2.3", number, PatientAge="070Y", **whole)
    model, runs = film_model(folder), folder / "runs"
    options = PredictOptions([folder / "in"], model, runs, folder / "t.parquet", workers=1)
    predict_with_reports(options, folder / "sr", None)
    places = {SEG: folder / "seg", SC: folder / "sc"}
    localize_with_objects(LocalizeOptions([folder / "in/1.dcm"], model, runs), places)
    return {kind: next((folder / kind).glob("*.dcm")) for kind in ("sr", SEG, SC)}


@needs_dciodvfy
@pytest.mark.parametrize("kind", ["sr", SEG, SC])
def test_dciodvfy_finds_no_error(objects: dict[str, Path], kind: str) -> None:
    done = subprocess.run(["dciodvfy", objects[kind]], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    assert {"sr": "Comprehensive3DSR", SEG: "Segmentation", SC: "SCImage"}[kind] in lines
    assert [line for line in lines if line.startswith("Error")] == []


@needs_dsrdump
def test_dsrdump_reads_the_report(objects: dict[str, Path]) -> None:
    done = subprocess.run(["dsrdump", "+U8", objects["sr"]], capture_output=True, text=True, check=False)
    if done.returncode:  # a dcmtk without support for other character sets
        done = subprocess.run(["dsrdump", objects["sr"]], capture_output=True, text=True, check=True)
    assert NAME.partition("^")[0] in done.stdout
    assert done.stdout.count('"Probability"') == 6  # two classes, for the study and its two images
    assert done.stdout.count('"Comment")="Not for clinical diagnosis."') == 3


@pytest.mark.slow
@pytest.mark.sample
@needs_pixelmed
def test_the_template_has_no_error(objects: dict[str, Path]) -> None:
    jars = ":".join(map(str, [PIXELMED, *PIXELMED.parent.glob("*.jar")]))
    line = ["java", *LIMITS, "-cp", jars, "com.pixelmed.validate.DicomSRValidator", str(objects["sr"])]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=280)
    said = done.stdout + done.stderr
    assert "Found Root Template TID_1500" in said
    assert "IOD validation complete" in said
    assert [text for text in said.splitlines() if text.startswith("Error")] == []
