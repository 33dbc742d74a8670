"""Memory and rate of predict on very many files: `python bench/links.py [--links 1000000] [--films 50]`.

Hard links to some small drawn films stand for as many files: every one is read, decoded and scored (ONNX
Runtime, a small network), and the disk holds them as directory entries alone. While `magsd predict` runs, the
memory of all its processes (proportional set size: shared pages count once) and the size of its journal, to
which every row is appended, are sampled. It ends with one line: rows, seconds, images/s of the first and of
the last tenth, memory at its most and when a tenth was done. A million links take about an hour on two idle
cores; start it when nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from growth import export, lay

ROOT = Path(__file__).resolve().parents[1]
A_FOLDER = 1000  # links in a folder
EVERY = 1.0  # seconds between two samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--links", type=int, default=1_000_000)
    parser.add_argument("--films", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--model", type=Path, help="a model file (default: a small random network)")
    parser.add_argument("--parts", action="store_true", help="write a folder of parts; no rates")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        lay(folder / "films", given.films)
        link(sorted((folder / "films").rglob("*.png")), folder / "xrays", given.links)
        model = given.model or folder / "model.magsd"
        if given.model is None:
            export(model)
        out = folder / ("table/" if given.parts else "table.parquet")
        print(f"{given.links} links, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
        samples = run(folder / "xrays", model, out, "/" if given.parts else "")
        print(in_words(samples, given.links, rates=not given.parts))
        size = sum(path.stat().st_size for path in (out.iterdir() if given.parts else [out]))
        print(f"table: {size / 2**20:.1f} MiB, {size / given.links:.0f} bytes a row")


def link(films: list[Path], folder: Path, count: int) -> None:
    for number in range(count):
        place = folder / f"{number // A_FOLDER:05}"
        if number % A_FOLDER == 0:
            place.mkdir(parents=True)
        os.link(films[number % len(films)], place / f"{number:08}.png")


def run(xrays: Path, model: Path, out: Path, end: str) -> list[tuple[float, int, float]]:
    """Predict; return seconds, bytes of the journal and MiB of all processes at each sample."""
    command = [sys.executable, "-m", "magsd_cli", "predict", str(xrays)]
    command += ["--model", str(model.absolute()), "--out", f"{out}{end}", "--device", "cpu"]
    journal = out.with_name(f".{out.name}.partial")
    start, samples = time.monotonic(), []
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            size = journal.stat().st_size if journal.exists() else 0
            samples.append((time.monotonic() - start, size, memory(process.pid)))
            time.sleep(EVERY)
        errors = process.stderr.read() if process.stderr else ""
    samples.append((time.monotonic() - start, 0, 0.0))
    if process.returncode:
        sys.exit(f"predict: exit {process.returncode}: {errors[-400:]}")
    return samples


def memory(pid: int) -> float:
    """MiB of a process and all below it, pages that they share counted once."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return 0.0
    own = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
    return own + sum(memory(int(child)) for child in children)


def in_words(samples: list[tuple[float, int, float]], count: int, rates: bool) -> str:
    total, most = samples[-1][0], max(mib for _, _, mib in samples)
    text = f"{count} rows in {total:.0f} s, {count / total:.0f} images/s; at most {most:.0f} MiB in all"
    if not rates:
        return text
    whole = max(size for _, size, _ in samples)

    def at(share: float) -> tuple[float, float]:
        """Seconds and MiB when `share` of the rows were in the journal."""
        return next((second, mib) for second, size, mib in samples if size >= share * whole)

    first = at(0.1)[0] - next(second for second, size, _ in samples if size)
    last = at(1.0)[0] - at(0.9)[0]
    tenth = count / 10
    return (
        f"{text} ({at(0.1)[1]:.0f} when a tenth was done); "
        f"first tenth {tenth / max(first, EVERY):.0f} images/s, "
        f"last {tenth / max(last, EVERY):.0f} (ratio {first / max(last, EVERY):.2f})"
    )


if __name__ == "__main__":
    main()
