"""Stamps of files: known content is told without reading, and nothing that could have changed is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from magsd_cli.inference import resume
from magsd_cli.inference.resume import read_seen, seen_key, seen_path, stamp_of, write_seen

OLD = 1_000_000_000


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture that nobody has touched for a while: the clock says that an hour has passed."""
    path = tmp_path / "x.png"
    path.write_bytes(b"picture")
    os.utime(path, (OLD, OLD))
    later(monkeypatch, 3600)
    return path


def later(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    import time

    now = time.time_ns() + seconds * 10**9
    monkeypatch.setattr(resume.time, "time_ns", lambda: now)


def keep(out: Path, file: Path) -> None:
    stamp = stamp_of(file)
    assert stamp is not None
    write_seen(out, [(seen_key(file), "a" * 64, stamp)])


def known(out: Path, file: Path) -> bool:
    return (seen_key(file), "a" * 64, stamp_of(file)) in list(read_seen(out))


def test_a_file_that_nobody_touched_is_known(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    keep(out, file)
    assert known(out, file)
    assert not known(out, tmp_path / "other.png")


def test_a_file_with_other_content_and_the_same_times_is_not(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    keep(out, file)
    file.write_bytes(b"another")  # as long, and its modification time is put back
    os.utime(file, (OLD, OLD))
    assert not known(out, file)
    new = tmp_path / "new"
    new.write_bytes(b"picture")
    os.utime(new, (OLD, OLD))
    new.replace(file)
    assert not known(out, file)


@pytest.mark.parametrize("seconds", [0, 2, -3600])
def test_a_file_touched_just_now_or_in_the_future_has_no_stamp(
    file: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    monkeypatch.undo()
    later(monkeypatch, seconds)
    assert stamp_of(file) is None


def test_what_is_no_file_has_no_stamp(file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name in (".", "pipe", "link", "none"):
        assert stamp_of(tmp_path / name) is None
    assert stamp_of(file) is not None


def test_a_damaged_line_is_not_known(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    keep(out, file)
    whole = seen_path(out).read_bytes()
    for place in range(0, len(whole), 7):
        seen_path(out).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert list(read_seen(out)) == []
    seen_path(out).unlink()
    assert list(read_seen(out)) == []
