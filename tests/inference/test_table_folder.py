"""predict --out DIR/: parts of a table, each whole when it appears, continued by part, read as one table."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.dataset
import pytest
from tiny_onnx import HEAD, tiny_onnx

from magsd_cli.artifacts.model_file import write_model_file
from magsd_cli.artifacts.sealed.parts import (
    new_parts,
    part_files,
    part_path,
    read_parts,
    read_predictions,
)
from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.hospital.reports import predict_with_reports
from magsd_cli.inference import inputs
from magsd_cli.inference import predict as stage
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.inference.resume import journal_path
from magsd_cli.inference.table import output
from magsd_cli.tools.verify import verify


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """model.magsd, in/ with 10 pictures (one of them cut), and parts of four rows."""
    monkeypatch.setattr(output, "PART_ROWS", 4)
    write_model_file(tmp_path / "model.magsd", HEAD, {0: tiny_onnx(3.0)})
    for number in range(10):
        arrive(tmp_path, f"{number}.png", number)
    path = tmp_path / "in" / "5.png"
    path.write_bytes(path.read_bytes()[:300])
    return tmp_path


def arrive(site: Path, name: str, seed: int) -> Path:
    path = site / "in" / name
    path.parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 90 + 10 * seed % 160, (70, 70), dtype=np.uint8))
    return path


def run(site: Path, out: str = "t", **options: Any) -> int:
    given: dict[str, Any] = {"inputs": [site / "in"], "model": site / "model.magsd", "runs": site / "runs"}
    return predict(PredictOptions(out=site / out, parts="." not in out, workers=1, **given | options))


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_predictions(folder).to_pylist()


def test_the_parts_are_the_rows_of_the_file(site: Path) -> None:
    assert run(site, "t.parquet") == 3
    assert run(site) == 3
    whole = read_table(site / "t.parquet", PREDICTION).to_pylist()
    assert rows(site / "t") == whole
    assert [part.rows for part in read_parts(site / "t")] == [4, 4, 2]
    assert [read_table(path, PREDICTION).num_rows for path in part_files(site / "t")] == [4, 4, 2]
    assert pyarrow.dataset.dataset(site / "t").count_rows() == 10  # other programs see one data set
    assert verify(site / "t") == 0
    assert not journal_path(site / "t").exists()
    with pytest.raises(UsageError, match="--resume to complete it or --overwrite"):
        run(site)


def test_a_part_is_there_before_the_next_is_scored(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends in the middle leaves whole parts; the same command goes on to the same bytes."""
    run(site, "whole")
    real = stage._score

    def stopped(plan: Any, files: list[Path], options: Any) -> Any:
        for number, some in enumerate(real(plan, files, options)):
            if number == 2:
                raise KeyboardInterrupt
            yield some

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_score", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(site)
    assert [path.name for path in part_files(site / "t")] == ["part-00000.parquet"]
    assert len(read_table(part_path(site / "t", 0), PREDICTION)) == 4
    lines = journal_path(site / "t").read_bytes().splitlines()
    assert len(lines) == 1 + 4  # what is in the part is not kept twice
    with pytest.raises(ArtifactError, match="not finished"):
        read_predictions(site / "t")
    with pytest.raises(ArtifactError, match="1 problem in 1 file"):
        verify(site / "t")

    scored: list[str] = []

    def counted(plan: Any, files: list[Path], options: Any) -> Any:
        scored.extend(path.name for path in files)
        return real(plan, files, options)

    monkeypatch.setattr(stage, "_score", counted)
    assert run(site) == 3
    assert scored == ["5.png", "8.png", "9.png"]  # a bad file is tried again
    for one, two in zip(part_files(site / "t"), part_files(site / "whole"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_resume_and_watch_add_to_the_last_part_and_keep_the_others(site: Path) -> None:
    run(site)
    first = part_path(site / "t", 0).stat().st_mtime_ns
    kept = [row["path"] for row in rows(site / "t")]
    arrive(site, "4.png", 12)  # in the second part: replaced there
    for number in range(3):
        arrive(site, f"a{number}.png", 20 + number)
    assert run(site, watch_once=True) == 0
    assert [part.rows for part in read_parts(site / "t")] == [4, 4, 4, 1]
    found = rows(site / "t")
    assert [row["path"] for row in found[:10]] == kept
    assert [Path(row["path"]).name for row in found[10:]] == ["a0.png", "a1.png", "a2.png"]
    assert part_path(site / "t", 0).stat().st_mtime_ns == first
    run(site, "fresh.parquet")
    fresh = {row["path"]: row for row in read_table(site / "fresh.parquet", PREDICTION).to_pylist()}
    assert all(fresh[row["path"]] == row for row in found)

    before = [path.stat().st_mtime_ns for path in part_files(site / "t")]
    assert run(site, watch_once=True) == 0
    assert [path.stat().st_mtime_ns for path in part_files(site / "t")] == before
    (site / "in" / "0.png").unlink()
    assert run(site, resume=True) == 3
    assert len(rows(site / "t")) == 13  # no row is ever dropped


def test_a_table_of_full_parts_is_finished(site: Path) -> None:
    names = [site / "in" / f"{number}.png" for number in range(8)]
    run(site, inputs=names)
    assert [part.rows for part in read_parts(site / "t")] == [4, 4]
    assert len(rows(site / "t")) == 8
    run(site, resume=True)
    assert [part.rows for part in read_parts(site / "t")] == [4, 4, 2]
    assert verify(site / "t") == 0


def test_a_copy_of_a_replaced_file_keeps_its_own_row(site: Path) -> None:
    run(site)
    old = {Path(row["path"]).name: row for row in rows(site / "t")}
    shutil.copy(site / "in" / "1.png", site / "in" / "copy.png")
    arrive(site, "1.png", 30)
    run(site, watch_once=True)
    new = {Path(row["path"]).name: row for row in rows(site / "t")}
    assert new["copy.png"]["p_a"] == old["1.png"]["p_a"] != new["1.png"]["p_a"]


def rename_inputs(site: Path) -> None:
    for path in (site / "in").iterdir():
        path.rename(path.with_name(f"n{path.name}"))


def names(folder: Path) -> list[str]:
    return [Path(row["path"]).name for row in rows(folder)]


def interrupt(site: Path, monkeypatch: pytest.MonkeyPatch, after: int, **options: Any) -> None:
    """Run and stop after so many answers."""
    real = stage._score

    def stopped(plan: Any, files: list[Path], options: Any) -> Any:
        for number, some in enumerate(real(plan, files, options)):
            if number == after:
                raise KeyboardInterrupt
            yield some

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_score", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(site, **options)


def test_overwrite_keeps_the_earlier_table_until_the_new_one_is_whole(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(site)
    earlier = names(site / "t")
    rename_inputs(site)
    interrupt(site, monkeypatch, 2, overwrite=True)
    assert names(site / "t") == earlier
    assert verify(site / "t") == 0
    (new,) = part_files(new_parts(site / "t"))
    before = new.stat().st_mtime_ns
    assert run(site, overwrite=True) == 3  # it goes on
    assert part_path(site / "t", 0).stat().st_mtime_ns == before
    assert names(site / "t") == [f"n{name}" for name in earlier]
    assert not [path for path in (site / "t").iterdir() if path.name.startswith(".")]
    run(site, overwrite=True)  # a finished one is scored anew
    assert part_path(site / "t", 0).stat().st_mtime_ns != before


def test_overwrite_that_is_given_up_changes_nothing(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(site)
    earlier = [path.read_bytes() for path in part_files(site / "t")]
    interrupt(site, monkeypatch, 2, overwrite=True)
    assert run(site, resume=True) == 3
    assert [path.read_bytes() for path in part_files(site / "t")] == earlier
    assert not new_parts(site / "t").exists()


def test_overwrite_of_an_unfinished_table(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(site, monkeypatch, 2)
    rename_inputs(site)
    assert run(site, overwrite=True) == 3
    assert names(site / "t") == [f"n{number}.png" for number in range(10)]


@pytest.mark.parametrize("fewer", [False, True])
def test_a_kill_at_any_step_of_the_replacement_loses_nothing(
    site: Path, monkeypatch: pytest.MonkeyPatch, fewer: bool
) -> None:
    """The earlier parts are named by what is read, or the table is said to be unfinished; then it goes on."""
    run(site)
    earlier = names(site / "t")
    rename_inputs(site)
    if fewer:  # two parts replace three
        for number in range(4, 10):
            (site / "in" / f"n{number}.png").unlink()
        arrive(site, "n9.png", 40)
    wanted = [f"n{name}" for name in earlier if (site / "in" / f"n{name}").exists()]
    for name in ("t.before", "whole"):
        shutil.copytree(site / "t", site / name)
    run(site, "whole", overwrite=True)
    states = set()
    for kill in range(40):
        shutil.rmtree(site / "t")
        shutil.copytree(site / "t.before", site / "t")
        done = killed_at(site, monkeypatch, kill)
        if done:
            break
        states.add(state(site / "t", earlier, wanted))
        run(site, overwrite=True)
        assert [path.name for path in sorted((site / "t").iterdir())] == [
            path.name for path in part_files(site / "whole")
        ]
        for one, two in zip(part_files(site / "t"), part_files(site / "whole"), strict=True):
            assert one.read_bytes() == two.read_bytes()
    assert kill >= 6
    assert states == {"whole", "unfinished"}


def state(folder: Path, earlier: list[str], wanted: list[str]) -> str:
    """How a reader finds a table: whole, with the rows of one or the other, or unfinished."""
    try:
        found = names(folder)
    except ArtifactError as error:
        found, words = [], str(error)
    else:
        words = ""
    assert found in (earlier, wanted) or "not finished" in words or "no prediction table" in words
    return "unfinished" if words else "whole"


def killed_at(site: Path, monkeypatch: pytest.MonkeyPatch, kill: int) -> bool:
    """Overwrite, and stop before step `kill` of the replacement; return whether it ended before."""
    count = 0

    def stopping(real: Any) -> Any:
        def step(path: Path, *given: Any, **more: Any) -> Any:
            nonlocal count
            if "/t" in str(path) and count_from(path):
                count += 1
                if count > kill:
                    raise KeyboardInterrupt
            return real(path, *given, **more)

        return step

    def count_from(path: Path) -> bool:
        return path.name == ".new" or path.parent.name == ".ready" or path.name.startswith("part-")

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink"):
            patch.setattr(Path, name, stopping(getattr(Path, name)))
        try:
            run(site, overwrite=True)
        except KeyboardInterrupt:
            return False
    return True


def test_what_is_missing_or_strange_is_said(site: Path) -> None:
    run(site)
    part = part_path(site / "t", 1)
    part.rename(site / "away.parquet")
    for check in (read_predictions, verify):
        with pytest.raises(ArtifactError):
            check(site / "t")
    with pytest.raises(ArtifactError, match=r"part-00001\.parquet: is missing"):
        run(site, resume=True)
    (site / "away.parquet").rename(part)
    part_path(site / "t", 2).rename(site / "away.parquet")
    with pytest.raises(ArtifactError, match="not finished"):
        read_predictions(site / "t")
    (site / "t" / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"other files in it, such as notes\.txt"):
        run(site, resume=True)
    (site / "t" / "notes.txt").unlink()
    with pytest.raises(UsageError, match="--by study: needs the table in one file"):
        run(site, by_study=True)
    options = PredictOptions([site / "in"], site / "model.magsd", site, site / "t", parts=True)
    with pytest.raises(UsageError, match="--dicom-sr: needs the table in one file"):
        predict_with_reports(options, site / "sr", None)
    with pytest.raises(UsageError, match="end its name in /"):
        predict(PredictOptions([site / "in"], site / "model.magsd", site, site / "t"))
    with pytest.raises(UsageError, match="is a file"):
        predict(PredictOptions([site / "in"], site / "model.magsd", site, site / "model.magsd", parts=True))


def test_rows_of_another_model_are_refused(site: Path) -> None:
    run(site)
    write_model_file(site / "model.magsd", HEAD | {"model_sha256": "b" * 64}, {0: tiny_onnx(1.0)})
    with pytest.raises(ArtifactError, match="rows are from model"):
        run(site, resume=True)
    run(site, overwrite=True)
    assert {row["model_sha256"] for row in rows(site / "t")} == {"b" * 64}


def test_more_files_than_are_listed_at_once(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their number is not known when the first is scored; the table is the same, and known rows are kept."""
    run(site, "whole.parquet")
    monkeypatch.setattr(inputs, "AHEAD", 3)
    assert run(site, "t.parquet") == 3
    assert "files as they are found with ONNX Runtime" in capsys.readouterr().err
    assert (site / "t.parquet").read_bytes() == (site / "whole.parquet").read_bytes()
    assert run(site, "t.parquet", resume=True) == 3
    assert "9 of 10 files scored already and unchanged" in capsys.readouterr().err
    assert (site / "t.parquet").read_bytes() == (site / "whole.parquet").read_bytes()
