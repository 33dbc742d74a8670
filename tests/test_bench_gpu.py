"""bench/gpu.sh runs end to end without a GPU: not one of a GPU's minutes is to be lost to a typo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("machine", "gpu_tests", "training_step", "memory", "two_at_once", "predicting", "resume")


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(1500)
def test_every_step_runs_when_it_pretends(tmp_path: Path) -> None:
    """Each step leaves a figure, none fails, and the training that was killed goes on."""
    command = [str(ROOT / "bench" / "gpu.sh"), "--pretend", "--out", str(tmp_path)]
    environment = os.environ | {
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = {name: json.loads((tmp_path / f"{name}.json").read_text())["rows"] for name in STEPS}
    assert (
        "skipped" in results["gpu_tests"]["pytest -m gpu"]
        or "passed" in results["gpu_tests"]["pytest -m gpu"]
    )
    assert "time against plain" in results["training_step"]["fp32"]
    assert float(results["memory"]["memory against one joint backward"]) > 0
    assert results["predicting"]["predict with torch"].split()[1] == "images/s"
    assert "then 2: finished" in results["resume"]["recipe paper"]
    page = (tmp_path / "gpu.md").read_text()
    assert page.startswith("# Pretending")
    assert all(f"| {name} |" in page for name in STEPS)


def test_a_step_that_fails_is_a_row_and_an_exit_code(tmp_path: Path) -> None:
    """predicting needs a run; without one the page says so, and the exit code is 1."""
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), "--pretend", "--only", "predicting"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        "| predicting | failed | needs the run of the step two_at_once" in (tmp_path / "gpu.md").read_text()
    )
