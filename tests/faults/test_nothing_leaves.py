"""Nothing leaves the house: no command asks for a name, opens a connection or writes under HOME."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_run import KEYS, write_xrays

SETTINGS = [part for key in (*KEYS, "train.epochs=1", "train.batch_size=8") for part in ("--set", key)]
#: Command lines in order; every command of the tool that may run in a hospital stands here.
COMMANDS: Mapping[str, list[str]] = {
    "prepare": ["prepare", "xrays", "--size", "64", "--workers", "2"],
    "cv": ["cv", "--folds", "2", "--device", "cpu", "--gpus", "2", "--name", "r", *SETTINGS],
    "calibrate": ["calibrate", "runs/r", "--coverage", "0.9"],
    "export": ["export", "runs/r", "--out", "m.magsd"],
    "predict, ONNX Runtime": [
        "predict",
        "xrays",
        "--model",
        "m.magsd",
        "--workers",
        "2",
        "--out",
        "o.parquet",
    ],
    "predict, torch": ["predict", "xrays", "--model", "runs/r", "--engine", "torch", "--out", "t.parquet"],
    "predict, torch in processes": [
        *("predict", "xrays", "--model", "runs/r", "--engine", "torch", "--device", "cpu"),
        *("--gpus", "2", "--out", "p.parquet"),
    ],
    "localize": ["localize", "xrays", "--model", "runs/r", "--name", "l"],
    "report": ["report", "runs/r"],
    "verify": ["verify", "runs/r"],
    "doctor": ["doctor"],
    "recipes": ["recipes", "list"],
}


def unreachable(folder: Path) -> Path:
    """The LD_PRELOAD library that writes down every attempt to reach another machine."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the library that watches for connections cannot be built")
    library = folder / "unreachable.so"
    source = Path(__file__).with_name("unreachable.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with X-rays, and the environment of a person with an empty HOME and a watched network."""
    folder = tmp_path_factory.mktemp("watched")
    write_xrays(folder / "xrays", 16)
    (folder / "home").mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "MPL", "TORCH", "HF_"))
    }
    kept.pop("CI", None)
    root = Path(__file__).resolve().parents[2]
    return folder, kept | {
        "HOME": str(folder / "home"),
        "LD_PRELOAD": str(unreachable(folder)),
        "UNREACHABLE_LOG": str(folder / "attempts.txt"),
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(900)
def test_no_command_reaches_out(watched: tuple[Path, dict[str, str]]) -> None:
    folder, environment = watched
    for name, words in COMMANDS.items():
        done = subprocess.run(
            [sys.executable, "-m", "magsd_cli", *words],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert not (folder / "attempts.txt").exists(), f"{name}: {(folder / 'attempts.txt').read_text()}"
        written = [str(path.relative_to(folder)) for path in (folder / "home").rglob("*")]
        assert written == [], f"{name} wrote under HOME"


@pytest.mark.slow
@pytest.mark.sample
def test_the_watch_sees_an_attempt(watched: tuple[Path, dict[str, str]]) -> None:
    folder, environment = watched
    script = "import socket\ntry: socket.getaddrinfo('example.org', 443)\nexcept OSError: pass"
    log = folder / "tried.txt"
    subprocess.run(
        [sys.executable, "-c", script], env=environment | {"UNREACHABLE_LOG": str(log)}, check=True
    )
    assert log.read_text() == "getaddrinfo example.org\n"
