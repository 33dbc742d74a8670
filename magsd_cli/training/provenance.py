"""The provenance of a run: versions, machine, command lines, times."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from magsd_cli import __version__
from magsd_cli.artifacts.files import check_hash, read_json
from magsd_cli.artifacts.runs import Run, provenance_path, write_json_hashed
from magsd_cli.models.build import first_weights_origin
from magsd_cli.runtime.device import describe

Session = dict[str, Any]  # one start of a run: tool, command, times, devices, versions, machine
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pyarrow",
    "h5py",
    "scikit-learn",
    "timm",
)


def begin_session(run: Run, command: Sequence[str], devices: Sequence[torch.device]) -> None:
    """Add this start, by `command`, to the run's provenance: a run has a session for every start."""
    earlier = _sessions(run)
    session = {
        "tool": {"name": "magsd", "version": __version__, "git": _git_commit()},
        "command": list(command),
        "start": _now(),
        "end": None,
        "seconds": None,
        "devices": [describe(device) for device in devices],
        "threads": run.threads,
        "versions": _versions(),
        "machine": _machine(),
        "first_weights": _first_weights(run),
    }
    _write(run, [*earlier, session])


def end_session(run: Run) -> None:
    """Note when the session that is under way ended."""
    *earlier, session = _sessions(run)
    end = _now()
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(session["start"])).total_seconds()
    _write(run, [*earlier, session | {"end": end, "seconds": seconds}])


def _sessions(run: Run) -> list[Session]:
    path = provenance_path(run.path)
    if not path.exists():
        return []
    check_hash(path)
    sessions: list[Session] = read_json(path)["sessions"]
    return sessions


def _write(run: Run, sessions: list[Session]) -> None:
    known = [session["seconds"] for session in sessions if session["seconds"] is not None]
    patients = "known" if run.patients_known else "unknown: images of one patient may stand in several folds"
    values = {
        "tool": sessions[-1]["tool"],
        "recipe_sha256": run.recipe.hash(),
        "cache": {"path": str(run.cache_path), "sha256": run.cache_digest},
        "patients": patients,
        "seed": run.recipe.seed,
        "start": sessions[0]["start"],
        "end": sessions[-1]["end"],
        "seconds": sum(known),
        "first_weights": sessions[0].get("first_weights"),  # earlier versions did not note it
        "sessions": sessions,
    }
    write_json_hashed(provenance_path(run.path), values)


def _first_weights(run: Run) -> dict[str, Any] | None:
    """Source, file, SHA-256 and licence of what training begins with; None where it begins at random."""
    origin = first_weights_origin(run.recipe.model)
    return None if origin is None else origin._asdict()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _machine() -> dict[str, Any]:
    # No host name: it often is a person's, and says nothing about the result.
    return {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}


def _git_commit() -> str | None:
    """The commit of the checkout that the tool runs from; None for an installed package."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
