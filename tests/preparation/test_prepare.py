"""prepare from a folder to a cache: rows, exit codes, resuming, locking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import dicom_bytes, radiograph

from magsd_cli.artifacts.cache import AGAIN, open_cache
from magsd_cli.artifacts.cache_truth import boxes_path, read_masks
from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.tables import read_parquet
from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.errors import LockedError, NoInputError, UsageError
from magsd_cli.preparation import prepare as stage
from magsd_cli.preparation import workplace
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.settings import Preprocessing


def picture(seed: int, side: int = 80) -> np.ndarray:  # type: ignore[type-arg]
    rough = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """Two classes of four pictures each."""
    for number in range(8):
        path = tmp_path / "xrays" / ("COVID-19", "Normal")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(number))
    return tmp_path / "xrays"


def run(*sources: Path, runs: Path, **options: object) -> tuple[Path, int]:
    given = PrepareOptions(sources, runs, preprocessing=Preprocessing(64), workers=1)
    return prepare(replace(given, **options))  # type: ignore[arg-type]


def test_folder_to_cache(xrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, code = run(xrays, runs=tmp_path / "runs")
    cache = open_cache(path)
    assert code == 0
    assert path.parent == tmp_path / "runs" / "cache"
    assert path.name == f"xrays-{cache.digest[:8]}.h5"
    assert cache.classes == ("COVID-19", "Normal")
    assert cache.labels.tolist() == [0] * 4 + [1] * 4
    assert cache.image_ids[0] == "COVID-19/0.png"
    expected = prepare_pixels(picture(0), Preprocessing(64))
    np.testing.assert_array_equal(cache.images[0, 0], expected)
    samples = cache.samples()
    assert samples["path"].iloc[0] == str(xrays / "COVID-19/0.png")
    assert set(samples["width"]) == {80}
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "layout folder, 8 images (COVID-19 4, Normal 4), patients unknown" in captured.err
    assert "8 images without a known patient" in captured.err


def test_again_says_that_nothing_is_left(
    xrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = run(xrays, runs=tmp_path / "runs")
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(workplace, "run_isolated", None)
    assert run(xrays, runs=tmp_path / "runs") == (path, 0)
    assert path.stat().st_mtime_ns == before
    assert "nothing is left to do" in capsys.readouterr().err


def test_damaged_cache_is_made_again(xrays: Path, tmp_path: Path) -> None:
    path, _ = run(xrays, runs=tmp_path / "runs")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert run(xrays, runs=tmp_path / "runs")[0] == path
    assert path.read_bytes() == whole


def test_a_changed_file_or_setting_makes_another_cache(xrays: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    paths = {
        run(xrays, runs=runs)[0],
        run(xrays, runs=runs, preprocessing=Preprocessing(64, clahe=False))[0],
        run(xrays, runs=runs, preprocessing=Preprocessing(64, tiles=2))[0],
    }
    cv2.imwrite(str(xrays / "Normal/1.png"), picture(99))
    paths.add(run(xrays, runs=runs)[0])
    assert len(paths) == 4


def test_bad_files_get_rows_and_exit_3(
    xrays: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (xrays / "Normal/empty.png").touch()
    (xrays / "Normal/notes.txt").write_text("healthy")
    (xrays / "Normal/a\nb.png").write_bytes((xrays / "Normal/1.png").read_bytes()[:300])
    os.mkfifo(xrays / "Normal/fifo.png")
    (xrays / "COVID-19" / os.fsdecode(b"\xff.png")).write_bytes((xrays / "COVID-19/0.png").read_bytes())
    path, code = run(xrays, runs=tmp_path / "runs")
    assert code == 3
    samples = open_cache(path).samples().set_index("image_id")
    assert samples.loc["Normal/empty.png", "error_code"] == "empty"
    assert samples.loc["Normal/notes.txt", "error_code"] == "not_image"
    assert samples.loc["Normal/a\nb.png", "error_code"] == "truncated"
    assert samples.loc["Normal/fifo.png", "error_code"] == "not_a_file"
    assert samples.loc["COVID-19/\\xff.png", "status"] == "ok"
    assert len(samples) == 13
    assert len(capsys.readouterr().err.splitlines()) < 8
    assert run(xrays, runs=tmp_path / "runs") == (path, 3)


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.png").write_text("no")
    with pytest.raises(NoInputError, match="not_image 1"):
        run(tmp_path / "x", runs=tmp_path / "runs")
    assert not list((tmp_path / "runs/cache").glob("*.h5"))


def test_manifest_problems_come_before_any_work(xrays: Path, tmp_path: Path) -> None:
    (xrays / "metadata.csv").write_text("path,label,patient_id\nNormal/1.png,A,p\nNormal/1.png,B,p\n")
    with pytest.raises(UsageError, match="row 3"):
        run(xrays, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_manifest_patients_and_missing_file(xrays: Path, tmp_path: Path) -> None:
    rows = [
        "path,label,patient_id,sex",
        "Normal/1.png,N,p1,F",
        "Normal/3.png,N,p2,",
        "COVID-19/0.png,C,p1,",
        "no.png,C,p3,",
    ]
    (xrays / "metadata.csv").write_text("\n".join(rows))
    path, code = run(xrays, runs=tmp_path / "runs")
    cache = open_cache(path)
    assert code == 3
    assert cache.patient_ids == ["p1", "p2", "p1"]
    assert cache.labels.tolist() == [1, 1, 0]
    samples = cache.samples()
    assert samples["error_code"].tolist() == ["", "", "", "not_found"] + ["unlisted"] * 5


def test_several_sources(xrays: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "Normal"
    other.mkdir(parents=True)
    (tmp_path / "other" / "Viral").mkdir()
    cv2.imwrite(str(other / "1.png"), picture(50))
    cv2.imwrite(str(tmp_path / "other/Viral/9.png"), picture(51))
    path, _ = run(xrays, tmp_path / "other", runs=tmp_path / "runs", label_map=["Viral=COVID-19"])
    cache = open_cache(path)
    assert path.name.startswith("xrays-and-1-more-")
    assert cache.classes == ("COVID-19", "Normal")
    assert "other/Normal/1.png" in cache.image_ids
    assert "xrays/Normal/1.png" in cache.image_ids
    assert set(cache.samples()["source"]) == {"xrays", "other"}


def test_per_class_and_name(xrays: Path, tmp_path: Path) -> None:
    (xrays / "Normal/broken.png").write_text("no")
    path, _ = run(xrays, runs=tmp_path / "runs", per_class=3, name="small")
    cache = open_cache(path)
    assert np.bincount(cache.labels).tolist() == [3, 3]
    assert path.name.startswith("small-")
    assert set(cache.samples()["status"]) >= {"ok", "excluded"}
    with pytest.raises(UsageError, match="--map"):
        run(xrays, runs=tmp_path / "runs", label_map=["Nrmal=x"])


def test_stopped_work_is_continued(xrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(xrays, runs=tmp_path / "whole")
    monkeypatch.setattr(stage, "images_of_shard", lambda _size: 3)
    monkeypatch.setattr(workplace, "CHUNK", 1)
    original, count = workplace.run_isolated, 0

    def interrupted(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        nonlocal count
        for result in original(*arguments, **options):  # type: ignore[arg-type]
            count += 1
            if count == 6:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(workplace, "run_isolated", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(xrays, runs=tmp_path / "runs")
    assert not list((tmp_path / "runs/cache").glob("*.h5"))
    assert count == 6
    path, _ = run(xrays, runs=tmp_path / "runs")
    assert count == 6 + 8 - 5
    assert path.name == whole.name
    assert path.read_bytes() == whole.read_bytes()
    assert not list((tmp_path / "runs/cache").glob(".work-*/*.npz"))


def test_two_at_once(xrays: Path, tmp_path: Path) -> None:
    run(xrays, runs=tmp_path / "runs")
    (work,) = (tmp_path / "runs/cache").glob(".work-*")
    script = "\n".join(
        [
            "from magsd_cli.artifacts.files import lock; from pathlib import Path; import time",
            f"with lock(Path({str(work / 'lock')!r})):",
            "    print('held', flush=True); time.sleep(60)",
        ]
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError):
            run(xrays, runs=tmp_path / "runs")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with lock(work / "lock"):
        pass


def test_workers_do_not_change_the_result(xrays: Path, tmp_path: Path) -> None:
    one, _ = run(xrays, runs=tmp_path / "1", workers=1)
    two, _ = run(xrays, runs=tmp_path / "2", workers=2)
    assert one.read_bytes() == two.read_bytes()


def test_sigterm_keeps_what_was_done(tmp_path: Path) -> None:
    for number in range(300):
        path = tmp_path / "x" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(number, 400))
    command = [
        sys.executable,
        "-m",
        "magsd_cli",
        "prepare",
        str(tmp_path / "x"),
        "--runs",
        str(tmp_path / "runs"),
    ]
    process = subprocess.Popen([*command, "--workers", "1"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/cache/.work-*/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 143, words
    assert "Traceback" not in words
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "continuing" in again.stderr
    assert len(open_cache(Path(again.stdout.strip())).images) == 300


def test_duplicates_share_a_group_and_masks_travel(xrays: Path, tmp_path: Path) -> None:
    first = cv2.imread(str(xrays / "Normal/1.png"), 0)
    cv2.imwrite(str(xrays / "Normal/copy.jpg"), first)
    rows = [
        "path,label,patient_id,view",
        "Normal/1.png,N,,PA",
        "Normal/copy.jpg,N,p,PA",
        "COVID-19/0.png,C,,L",
    ]
    (xrays / "metadata.csv").write_text("\n".join([*rows, "COVID-19/2.png,C,,AP"]))
    (xrays / "boxes.csv").write_text("path,x,y,width,height\nNormal/1.png,1,2,3,4\nCOVID-19/0.png,1,2,3,4\n")
    (xrays / "masks/Normal").mkdir(parents=True)
    cv2.imwrite(str(xrays / "masks/Normal/1.png"), np.eye(80, dtype=np.uint8) * 255)
    path, code = run(xrays, runs=tmp_path / "runs")
    cache = open_cache(path)
    assert code == 0
    assert cache.group_ids == ["p", "p", ""]
    boxes = read_parquet(boxes_path(path), AGAIN)
    assert list(boxes["image_id"]) == ["Normal/1.png"]
    masks = read_masks(path)
    assert masks is not None
    assert (masks.image_ids, masks.kinds, masks.masks.shape) == (["Normal/1.png"], ["lesion"], (1, 64, 64))
    samples = cache.samples().set_index("image_id")
    assert samples.loc["COVID-19/0.png", "error_code"] == "lateral_view"
    everything, _ = run(xrays, runs=tmp_path / "runs", view="all")
    assert len(open_cache(everything).images) == 4


def test_a_site_key_hides_patients_and_keeps_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dicom").mkdir()
    for number in range(3):
        dataset = radiograph(
            picture(number), PatientID="Doe-1" if number else "Doe-0", PatientName="Planted^Jane"
        )
        (tmp_path / "dicom" / f"{number}.dcm").write_bytes(dicom_bytes(dataset))
    one, _ = run(tmp_path / "dicom", runs=tmp_path / "1")
    monkeypatch.setenv("MAGSD_SITE_KEY", "a key of the hospital")
    two, _ = run(tmp_path / "dicom", runs=tmp_path / "2")
    first, second = open_cache(one), open_cache(two)
    assert one.name == two.name
    assert first.patient_ids != second.patient_ids
    assert first.patient_ids[1] == first.patient_ids[2] != first.patient_ids[0]
    assert (tmp_path / "1/site.key").stat().st_mode & 0o777 == 0o600
    for file in tmp_path.glob("?/**/*"):
        if file.is_file():
            assert b"Doe-" not in file.read_bytes()
            assert b"Jane" not in file.read_bytes()
    monkeypatch.setenv("MAGSD_SITE_KEY", "short")
    with pytest.raises(UsageError, match="at least 16"):
        run(tmp_path / "dicom", runs=tmp_path / "3")
