"""Memory of `magsd pacs screen` as the studies go by: `python bench/pacs_memory.py MODEL [--studies 300]`.

A real Orthanc (Debian's orthanc and orthanc-dicomweb) on loopback is given drawn films, one a study, and one
pass with --store screens them. Printed is, for each part of the pass, the most memory that the command and
its worker had together: the sum of their resident sets, pages that they share counted twice. Flat is good.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "hospital")]

import orthanc  # type: ignore[import-not-found]  # noqa: E402
from films import film  # type: ignore[import-not-found]  # noqa: E402

from magsd_cli.tools.phantoms import LESIONS, draw_phantom  # noqa: E402

DRAWN = 12  # different phantoms; each film is one of them with noise of its own
PARTS = 6


def upload_films(folder: Path, server: orthanc.Orthanc, studies: int, side: int) -> None:
    """Films of 12 bits and `side` pixels, one a study, into the PACS."""
    rng = np.random.default_rng(0)
    drawn = [draw_phantom(list(LESIONS)[n % len(LESIONS)], rng, 256)[0] for n in range(DRAWN)]
    now = datetime.now()
    for study in range(studies):
        wide = cv2.resize(drawn[study % DRAWN], (side, side), interpolation=cv2.INTER_CUBIC)
        pixels = (wide.astype(np.uint16) << 4) | rng.integers(0, 16, wide.shape, np.uint16)
        path = film(
            folder / "film.dcm", f"1.2.826.0.1.{study}", 1, f"PID-{study}", StudyDate=f"{now:%Y%m%d}",
            StudyTime=f"{now:%H%M%S}", BodyPartExamined="CHEST", Rows=side, Columns=side, BitsAllocated=16,
            BitsStored=12, HighBit=11, PixelData=pixels.tobytes(),
        )  # fmt: skip
        server.upload(path)


def tree(pid: int) -> list[int]:
    """The process and its children, theirs too."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def resident(pid: int) -> float:
    """The resident set of a process in MB; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def watch(process: subprocess.Popen[bytes], journal: Path) -> list[tuple[int, float, float]]:
    """(studies done, MB of the command, MB of its workers), ten times a second until it ends."""
    seen = []
    while process.poll() is None:
        done = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
        sizes = [resident(pid) for pid in tree(process.pid)]
        seen.append((done, sizes[0], sum(sizes[1:])))
        time.sleep(0.1)
    return seen


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--side", type=int, default=1024)
    given = parser.parse_args()
    if orthanc.missing():
        sys.exit(orthanc.missing())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with orthanc.running(folder) as server:
            upload_films(folder, server, given.studies, given.side)
            words = ["--runs", folder, "pacs", "screen", server.web, "--store", "--since", "48h"]
            words += ["--model", given.model.absolute(), "--out", folder / "t.parquet"]
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "magsd_cli", *map(str, words)],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            seen = watch(process, folder / ".t.parquet.partial")
            print(f"exit code {process.returncode}, {time.monotonic() - began:.0f} s")
            made = {kind: len(server.objects(kind)) for kind in ("SR", "SEG")}
            print(f"{given.studies} studies of one film, {given.side} x {given.side}, 12 bits; sent: {made}")
    print(f"{'studies done':>15} {'command':>9} {'worker':>9} {'together':>9}  (most, MB)")
    for part in range(PARTS):
        first, last = (given.studies * n // PARTS for n in (part, part + 1))
        of_it = [one for one in seen if first <= one[0] < last] or [(0, 0.0, 0.0)]
        most = [max(one[1] for one in of_it), max(one[2] for one in of_it), max(a + b for _, a, b in of_it)]
        print(f"{f'{first} to {last}':>15} " + " ".join(f"{value:>9.0f}" for value in most))


if __name__ == "__main__":
    main()
