"""`magsd pacs screen` against a real Orthanc: every study answered once, also after kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orthanc
import pytest
from films import film, film_model

from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.hospital.pacs.dicomweb import Pacs
from magsd_cli.hospital.pacs.http_session import HttpLimits, PacsSession
from magsd_cli.tools.phantoms import COVID, NORMAL, PNEUMONIA, draw_phantom

pytestmark = pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing() or "Orthanc is here")
ROOT = Path(__file__).resolve().parents[2]
STUDIES = 15  # of two films each


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[orthanc.Orthanc]:
    """An Orthanc with 30 drawn films in 15 studies, the last film a lateral one; a model in m.magsd."""
    film_model(tmp_path)
    with orthanc.running(tmp_path) as server:
        for study in range(STUDIES):
            for number in (1, 2):
                server.upload(drawn_film(tmp_path, study, number))
        yield server


def drawn_film(folder: Path, study: int, number: int, **values: Any) -> Path:
    seed = study * 10 + number
    label = (COVID, NORMAL, PNEUMONIA)[seed % 3]
    pixels, _ = draw_phantom(label, np.random.default_rng(seed), 96)
    now = datetime.now()
    tags: dict[str, Any] = {
        "StudyDate": f"{now:%Y%m%d}", "StudyTime": f"{now:%H%M%S}", "Rows": 96, "Columns": 96,
        "PixelData": pixels.tobytes(), "BodyPartExamined": "CHEST",
    }  # fmt: skip
    if (study, number) == (STUDIES - 1, 2):
        tags["ViewPosition"] = "LL"
    path = folder / "films" / f"{study}-{number}.dcm"
    return film(path, f"1.2.826.0.1.{study}", number, f"PID-{study}", **tags | values)


def start(folder: Path, server: orthanc.Orthanc, table: str, *more: str) -> subprocess.Popen[bytes]:
    words = ["--runs", folder / "runs", "pacs", "screen", server.web, "--model", folder / "m.magsd"]
    return subprocess.Popen(
        [sys.executable, "-m", "magsd_cli", *map(str, words), "--out", str(folder / table), "--store", *more],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def rows(table: Path) -> dict[str, dict[str, Any]]:
    found = read_table(table, PREDICTION).to_pylist()
    assert len({row["path"] for row in found}) == len(found)
    return {row["path"]: row for row in found}


def check_answers(server: orthanc.Orthanc, reports: int = STUDIES, films: int = 2 * STUDIES - 1) -> None:
    """One report a study and one segmentation a frontal film, in the study and of its patient."""
    made = server.objects("SR")
    assert len(made) == reports
    assert len({one["StudyInstanceUID"] for one in made}) == STUDIES
    assert len(server.objects("SEG")) == films
    for one in [*made, *server.objects("SEG")]:
        assert one["PatientID"] == f"PID-{one['StudyInstanceUID'].rpartition('.')[2]}"


def screen_and_kill(folder: Path, server: orthanc.Orthanc, kills: int) -> None:
    began = time.monotonic()
    killed = start(folder, server, "first.parquet", "--since", "1h")
    assert killed.wait(timeout=600) == 0
    whole = time.monotonic() - began
    expected = rows(folder / "first.parquet")
    check_answers(server)

    for one in server.ask("/series?expand"):  # as before: an own table, and a PACS without answers
        if one["MainDicomTags"]["Modality"] in ("SR", "SEG"):
            subprocess.run(
                ["curl", "-s", "-X", "DELETE", f"http://127.0.0.1:{server.port}/series/{one['ID']}"],
                check=True,
                capture_output=True,
            )
    moments = random.Random(0)
    for _ in range(kills):
        process = start(folder, server, "second.parquet")
        time.sleep(moments.uniform(0.2, 1.1) * whole)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert start(folder, server, "second.parquet").wait(timeout=600) == 0
    assert rows(folder / "second.parquet") == expected
    check_answers(server)
    assert not list(folder.glob(".second.parquet.fetched*"))


@pytest.mark.timeout(900)
def test_thirty_films_are_answered_once_and_a_grown_study_again(
    tmp_path: Path, pacs: orthanc.Orthanc
) -> None:
    assert start(tmp_path, pacs, "t.parquet").wait(timeout=600) == 0
    first = rows(tmp_path / "t.parquet")
    check_answers(pacs)
    assert sum(row["status"] == "ok" for row in first.values()) == 2 * STUDIES - 1
    assert {row["error_code"] for row in first.values()} == {None, "lateral_view"}
    text = (tmp_path / "t.parquet").read_bytes()
    assert b"PID-" not in text
    assert b"1.2.826" not in text

    pacs.upload(drawn_film(tmp_path, 0, 3))  # a study grows, and the table of the others stays
    assert start(tmp_path, pacs, "t.parquet").wait(timeout=600) == 0
    second = rows(tmp_path / "t.parquet")
    check_answers(pacs, STUDIES + 1, 2 * STUDIES)
    grown = [row for row in second.values() if row["replaces"] is not None]
    assert len(grown) == 3
    assert {row["replaces"] for row in grown} == {first[row["path"]]["answer"] for row in grown[:1]}
    newest = [one for one in pacs.objects("SR") if one.get("PredecessorDocumentsSequence")]
    assert len(newest) == 1

    (tmp_path / "t.parquet").unlink()  # the table is lost: the PACS knows what it has
    assert start(tmp_path, pacs, "t.parquet").wait(timeout=600) == 0
    check_answers(pacs, STUDIES + 1, 2 * STUDIES)
    again = rows(tmp_path / "t.parquet")
    assert {path: row["p_a"] for path, row in again.items()} == {
        path: row["p_a"] for path, row in second.items()
    }


def test_more_studies_and_images_than_fit_a_page_are_listed(tmp_path: Path) -> None:
    with orthanc.running(tmp_path) as server:
        for study in range(120):
            server.upload(drawn_film(tmp_path, study, 1))
        for number in range(2, 121):
            server.upload(drawn_film(tmp_path, 0, number))
        pacs = Pacs(server.web, PacsSession(HttpLimits()))
        found = pacs.studies(("CR", "DX"), datetime.now() - timedelta(hours=1))
        assert len({one.uid for one in found}) == len(found) == 120
        assert len(pacs.images("1.2.826.0.1.0", ("DX",), 1000)) == 120


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.timeout(1800)
def test_three_kills_lose_and_double_nothing(tmp_path: Path, pacs: orthanc.Orthanc) -> None:
    screen_and_kill(tmp_path, pacs, 3)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path, pacs: orthanc.Orthanc) -> None:
    screen_and_kill(tmp_path, pacs, 50)
