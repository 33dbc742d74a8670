"""Files are whole or not there, hashes notice damage, locks are free when their holder is gone."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from magsd_cli.artifacts import files
from magsd_cli.errors import ArtifactError, LockedError, OutputError


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    files.write_text(target, "old")

    def break_off() -> None:
        with files.atomic_path(target) as temporary:
            temporary.write_text("ne")
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        files.write_text(tmp_path / "file" / "below.txt", "x")


def test_orphans_of_dead_writers_are_swept(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    orphan = tmp_path / f".a.txt.{int(dead.stdout)}.tmp"
    living = tmp_path / f".a.txt.{os.getpid()}.tmp"
    for path in (orphan, living):
        path.touch()
    files.sweep_orphans(tmp_path)
    assert living.exists()
    assert not orphan.exists()


def test_every_single_bit_flip_is_noticed(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    files.write_bytes(target, bytes(range(32)))
    digest = files.record_hash(target)
    assert files.check_hash(target) == digest
    for bit in range(32 * 8):
        data = bytearray(range(32))
        data[bit // 8] ^= 1 << bit % 8
        target.write_bytes(data)
        with pytest.raises(ArtifactError):
            files.check_hash(target)


def test_json_refuses_what_json_has_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", float("nan"))
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        files.read_json(tmp_path / "b.json")


def test_a_lock_is_held_by_one_and_freed_by_death(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    script = (
        "import sys, time; from pathlib import Path; from magsd_cli.artifacts.files import lock\n"
        f"with lock(Path({str(path)!r})):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError), files.lock(path):
            pass
        holder.kill()
    with files.lock(path):
        pass


@pytest.mark.parametrize("name", ["EINVAL", "ENOTSUP", "ENOSYS", "EBADF", "EACCES"])
def test_a_share_that_cannot_sync_folders_is_written_to(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_folder_syncs(monkeypatch, getattr(errno, name))
    files.write_hashed(tmp_path / "a", b"x")
    assert files.check_hash(tmp_path / "a")


@pytest.mark.parametrize("name", ["EIO", "ENOSPC", "EROFS"])
def test_a_folder_that_fails_to_sync_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fail_folder_syncs(monkeypatch, getattr(errno, name))
    with pytest.raises(OutputError, match=os.strerror(getattr(errno, name))):
        files.write_bytes(tmp_path / "a", b"x")


def _fail_folder_syncs(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("name", ["ENOLCK", "ENOTSUP", "EINVAL"])
def test_a_share_without_locks_is_named_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OutputError, match="no file locks"), files.lock(tmp_path / "l"):
        pass
