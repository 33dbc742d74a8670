"""A folder of result objects: readable by its owner alone, each object whole, and made once.

The objects carry a patient's identity, so the folder has mode 0700 and its files 0600; their names do not:
``<keyed hash of the study>.<sr, seg or sc>.<of the object's UID>.dcm``.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from magsd_cli.artifacts.files import atomic_path, lock, sweep_orphans
from magsd_cli.data.identity import keyed_hash
from magsd_cli.errors import OutputError, UsageError
from magsd_cli.hospital.sources import quiet

PRIVATE = 0o700
SR, SEG, SC = "sr", "seg", "sc"


@dataclass(frozen=True)
class ResultFolder:
    """`path`, whose files are named with the site key that `key` gives when it is asked."""

    path: Path
    key: Callable[[], bytes] = field(repr=False)

    def object_path(self, study_uid: str, kind: str, uid: str) -> Path:
        """Return the path of the object `uid` of a study. `kind` is `SR`, `SEG` or `SC`."""
        number = int(uid.rpartition(".")[2])  # of UIDs in 2.25: the UUID
        return self.path / f"{self._study(study_uid)}.{kind}.{number:032x}.dcm"

    def objects_of(self, study_uid: str, kind: str) -> list[Dataset]:
        """The headers of the objects of a kind that are there for a study, the oldest first.

        One that cannot be read is left out.
        """
        found = []
        for path in self.path.glob(f"{self._study(study_uid)}.{kind}.*.dcm"):
            with quiet():
                try:
                    found.append(pydicom.dcmread(path, stop_before_pixels=True))
                except Exception:  # noqa: S112 (pydicom raises nearly anything on damage)
                    continue
        return sorted(found, key=lambda one: (int(one.InstanceNumber), str(one.SOPInstanceUID)))

    def write(self, path: Path, made: Dataset) -> None:
        """Write the object whole or not at all. Raises `OutputError`."""
        with atomic_path(path) as temporary, quiet():
            temporary.touch(mode=0o600)
            made.save_as(temporary, enforce_file_format=True)

    def _study(self, study_uid: str) -> str:
        return keyed_hash(study_uid, self.key) or "h-unknown"


def check_result_folder(path: Path) -> None:
    """Make the folder with mode 0700 where it is not there.

    Raises `UsageError` where it is not a folder or is open to others, `OutputError` where it cannot be made.
    """
    try:
        path.mkdir(PRIVATE, parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"{path}: is a file; name a folder for the DICOM objects") from None
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}; choose a folder that can be written"
        ) from error
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UsageError(
            f"{path}: others may read this folder, and the DICOM objects name patients; "
            f"name a new one, or `chmod 700 {path}`"
        )


@contextmanager
def open_result_folder(path: Path, key: Callable[[], bytes]) -> Iterator[ResultFolder]:
    """The folder, locked against other writers. Raises as `check_result_folder`, and `LockedError`."""
    check_result_folder(path)
    with lock(path / ".lock"):
        sweep_orphans(path)
        yield ResultFolder(path, key)
