"""Names that are not UTF-8, and a standard output that cannot hold them: the bytes go through as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import write_tiny_run, write_xrays

from magsd_cli.artifacts.checkpoints import read_weights
from magsd_cli.artifacts.runs import open_run, weights_path
from magsd_cli.artifacts.tables import PREDICTION, read_table

#: OpenCV, with which the pictures are drawn, dies of such a name: they are copied there.
ODD = os.fsdecode(b"r\xff \xc3\xa9")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_the_path_on_standard_output(encoding: str, tmp_path: Path) -> None:
    shutil.copytree(write_xrays(tmp_path / "xrays"), tmp_path / ODD / "xrays")
    line = ["--runs", str(tmp_path / ODD), "prepare", str(tmp_path / ODD / "xrays"), "--size", "64"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "magsd_cli", *line], env=environment, capture_output=True, check=True
    )
    (cache,) = (tmp_path / ODD / "cache").glob("*.h5")
    assert done.stdout == os.fsencode(cache) + b"\n"


def test_a_run_in_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = write_xrays(tmp_path / "xrays")
    monkeypatch.setattr("tiny_run.write_xrays", lambda folder: shutil.copytree(drawn, folder))
    run = write_tiny_run(tmp_path / ODD)
    assert open_run(run).cache_path.is_file()  # through JSON and back
    assert read_weights(weights_path(run, 0))[1] == ("COVID-19", "Normal")
    out = tmp_path / ODD / "t.parquet"
    line = ["predict", str(tmp_path / ODD / "xrays"), "--model", str(run), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "magsd_cli", *line], check=True, capture_output=True)
    paths = read_table(out, PREDICTION)["path"].to_pylist()
    assert len(paths) == 8
    assert all("r\\xff é/xrays" in path for path in paths)
