"""Files that are whole or not there: atomic writes, recorded hashes, locks.

Every write goes to a temporary file in the same folder, is flushed to disk and renamed onto its final
name, so that a kill or a full disk leaves either the old artifact or the new one. The hash of an artifact
stands beside it in ``<name>.sha256``, in the format that ``sha256sum -c`` reads.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magsd_cli.errors import ArtifactError, LockedError, OutputError
from magsd_cli.hashing import sha256_file

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: What opening or syncing a folder answers where the file system cannot (network shares, FUSE). The file's
#: own content was synced before, so the artifact is whole; EIO, ENOSPC and EROFS are not among them.
_NO_FOLDER_SYNC = {
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EACCES", "EPERM", "EISDIR")
}
#: What taking a lock answers where the file system has none.
_NO_LOCKS = {getattr(errno, name) for name in ("ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL")}
_TEMPORARY = re.compile(r"^\.(?P<final>.+)\.(?P<pid>\d+)\.tmp$")


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; on success make it durable and rename it onto `final`.

    The temporary name carries the process id, so that `sweep_orphans` can tell a dead writer's file from a
    living one's. Raises `OutputError` when the folder or the file cannot be written.
    """
    temporary = final.parent / f".{final.name}.{os.getpid()}.tmp"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(final)
        sync_folder(final.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"{final}: {reason}; free some space or choose a folder that can be written"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename durable where the file system can: the folder's own entry must reach the disk as well."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` to `path` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a stable key order; NaN and infinity are refused."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return the bytes that `write_json` writes.

    A byte of a path that is not UTF-8 becomes the escape that JSON reads back as Python's stand-in for it.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def read_json(path: Path) -> Any:
    """Read a JSON artifact. Raises `ArtifactError` when it is missing or damaged."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: not found; the run or cache it belongs to is incomplete") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path}: damaged ({type(error).__name__}); make the artifact again") from error


def sweep_orphans(folder: Path) -> None:
    """Remove temporary files in `folder` whose writer is no longer alive."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _TEMPORARY.match(path.name)
        if match and not _is_alive(int(match["pid"])):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def hash_sidecar(path: Path) -> Path:
    """Return the path of the file with the recorded hash of `path`."""
    return path.with_name(path.name + ".sha256")


def record_hash(path: Path, digest: str | None = None, name: str | None = None) -> str:
    """Write the sidecar of `path` (for a file still under a temporary name, give its final `name`)."""
    digest = digest or sha256_file(path)
    final = path.with_name(name or path.name)
    write_text(hash_sidecar(final), f"{digest}  {final.name}\n")
    return digest


@contextmanager
def hashed_path(final: Path) -> Iterator[Path]:
    """`atomic_path` that records the hash too, so that file and sidecar agree after a kill at any moment.

    While an artifact is replaced, its sidecar holds the new and the old hash; afterwards the new one alone.
    """
    with atomic_path(final) as temporary:
        yield temporary
        digest = sha256_file(temporary)
        before = recorded_hashes(final) if final.exists() else []
        lines = [f"{known}  {final.name}\n" for known in dict.fromkeys([digest, *before])]
        write_text(hash_sidecar(final), "".join(lines))
    if len(lines) > 1:
        write_text(hash_sidecar(final), lines[0])


def write_hashed(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, and its hash beside it."""
    with hashed_path(path) as temporary:
        temporary.write_bytes(data)


def recorded_hashes(path: Path) -> list[str]:
    """The hashes in the sidecar of `path`: one, or two where a replacement was cut short; [] without it."""
    try:
        lines = hash_sidecar(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line.split()[0] for line in lines if line.strip()]


def check_hash(path: Path) -> str:
    """Compare `path` with its recorded hash and return the hash.

    Raises `ArtifactError` when the file or its sidecar is missing or they do not match.
    """
    recorded = recorded_hashes(path)
    try:
        actual = sha256_file(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: is missing; check the name, or make it again") from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); make the artifact again") from error
    if not recorded:
        raise ArtifactError(f"{path}: its {hash_sidecar(path).name} is missing; make the artifact again")
    if actual not in recorded:
        raise ArtifactError(f"{path}: content does not match its recorded SHA-256 (damaged); make it again")
    return actual


def _file_lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    try:  # a lock that is a file's existence alone outlives its holder: never that
        return FileLock(path, timeout=0, fallback_to_soft=False)
    except TypeError:  # an earlier filelock, which has no such fallback
        return FileLock(path, timeout=0)


def _refuse_lockless(path: Path) -> None:
    """Raise `OutputError` where `path` cannot hold a lock: filelock takes some such places for held ones."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        os.close(descriptor)
    except OSError as error:
        raise OutputError(
            f"{path}: no lock file can be made here ({error.strerror}); choose another folder for the output"
        ) from error


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; the lock is free again when its holder dies.

    Raises `LockedError` at once when another process holds it, `OutputError` when it cannot be made or the
    file system has no locks.
    """
    from filelock import Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = _file_lock(path)
        holder.acquire()
    except Timeout as error:
        _refuse_lockless(path)
        raise LockedError(
            f"{path}: another magsd run is writing here; wait for it or choose another output"
        ) from error
    except (OSError, NotImplementedError) as error:  # the latter: filelock's word for a missing flock
        if isinstance(error, NotImplementedError) or error.errno in _NO_LOCKS:
            raise OutputError(
                f"{path}: this file system has no file locks, which keep two runs from writing one output; "
                "choose a folder on a local disk, or mount the share with locks"
            ) from error
        raise OutputError(
            f"{path}: {error.strerror or error}; choose a folder that can be written"
        ) from error
    try:
        yield
    finally:
        holder.release()
