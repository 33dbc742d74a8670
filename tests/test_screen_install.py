"""A host that only screens: requirements-screen.txt, and what a command says where its part is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from films import film, film_model

from magsd_cli.commands.missing import missing_package

ROOT = Path(__file__).resolve().parents[1]

#: Runs `magsd` as if some packages were not installed.
SCRIPT = """
import sys
absent = set(sys.argv[1].split(","))
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
there = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in absent else there(name, package)
from magsd_cli.cli import main
sys.argv = ["magsd", *sys.argv[2:]]
main()
"""
NOT_SCREENING = "torch,torchvision,pandas,sklearn,safetensors,imagehash,onnx,onnxscript,timm,scipy"


def magsd(absent: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", SCRIPT, absent, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)


def requirements() -> set[str]:
    lines = (ROOT / "requirements-screen.txt").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def test_the_file_is_a_part_of_the_dependencies_with_the_same_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = {*project["dependencies"], *project["optional-dependencies"]["dicom"]}
    assert requirements() <= allowed
    assert not [line for line in requirements() if line.startswith(("torch", "pandas", "timm", "scikit"))]
    assert set(project["optional-dependencies"]["dicom"]) <= requirements()


@pytest.mark.parametrize(
    "command",
    [("prepare", "x"), ("train",), ("cv",), ("calibrate", "x"), ("report",), ("export",), ("demo",)],
    ids=lambda command: command[0],
)
def test_a_command_without_its_part_names_the_line_to_type(command: tuple[str, ...], tmp_path: Path) -> None:
    done = magsd(NOT_SCREENING, "--runs", tmp_path, *command)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("magsd: error: this needs ")
    assert "`pip install " in last
    assert "Traceback" not in done.stderr


def test_predict_and_localize_do_without_torch(tmp_path: Path) -> None:
    model, path = film_model(tmp_path), film(tmp_path / "in/1.dcm")
    done = magsd(
        NOT_SCREENING, "--runs", tmp_path, "predict", path, "--model", model, "--out", tmp_path / "t.csv"
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\n1.dcm,10,10,20,20\n")
    done = magsd(
        NOT_SCREENING,
        "--runs",
        tmp_path,
        "localize",
        path,
        "--model",
        model,
        "--boxes",
        tmp_path / "boxes.csv",
    )
    assert done.returncode == 0, done.stderr
    assert "no comparison with untrained networks" in done.stderr
    done = magsd(NOT_SCREENING, "--runs", tmp_path, "doctor")
    assert (done.returncode, "everything that is needed is here" in done.stdout) == (0, True)


def test_a_worker_of_predict_imports_what_it_needs_and_no_more() -> None:
    from magsd_cli.commands.inference import WORKER_MODULES

    code = f"import sys, {', '.join(WORKER_MODULES)}; print(*sys.modules)"
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert {"onnxruntime", "cv2", "pydicom"} <= loaded
    assert not loaded & {"pyarrow", "pydantic", "h5py", "rich", "typer", "torch", "pandas", "matplotlib"}


def test_dicom_results_without_highdicom_are_refused_before_anything_is_scored(tmp_path: Path) -> None:
    model, path = film_model(tmp_path), film(tmp_path / "in/1.dcm")
    out = tmp_path / "t.parquet"
    done = magsd("highdicom", "predict", path, "--model", model, "--out", out, "--dicom-sr", tmp_path / "sr")
    assert done.returncode == 2
    assert "highdicom" in done.stderr
    assert "`pip install " in done.stderr
    assert not out.exists()


def test_modules_are_told_from_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=2.11", "scikit-learn>=1.5", 'highdicom>=0.24; extra == "dicom"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _name: wanted)
    monkeypatch.setattr("magsd_cli.commands.missing._installed", lambda name: name == "torch")
    assert str(missing_package("sklearn.metrics")).endswith("`pip install 'scikit-learn>=1.5'`")
    assert "(extra dicom)" in str(missing_package("highdicom"))
    assert "another one needs" in str(missing_package("mpmath"))
    assert missing_package("magsd_cli.gone") is None
    assert missing_package(None) is None
