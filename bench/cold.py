"""How long `magsd predict` of one film takes from nothing, as a multiple of importing what it rests on.

    python bench/cold.py MODEL FILM [TIMES]

Runs `import onnxruntime, cv2, pydicom` and `magsd predict FILM --model MODEL` in turn, TIMES (15) times each,
with this interpreter (for the light install: its own), and prints the medians of the wall time and of the CPU
time of all processes, and the median of the ratios of neighbours. The pair shares the machine's moods; a
busy machine still counts against predict, which uses two cores.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = [sys.executable, "-c", "import onnxruntime, cv2, pydicom"]


def measured(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command with all its processes."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        sys.exit(f"{' '.join(command)}: ended with {os.waitstatus_to_exitcode(status)}")
    return wall, used.ru_utime + used.ru_stime


def main() -> None:
    """Print the figures."""
    model, film = sys.argv[1:3]
    times = int(sys.argv[3]) if len(sys.argv) > 3 else 15
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "t.parquet")
        predict = [sys.executable, "-m", "magsd_cli", "--runs", folder, "predict", film, "--model", model]
        predict += ["--out", out, "--overwrite"]
        measured(IMPORTS), measured(predict)  # so that all files are in memory
        for _ in range(times):
            pairs.append((measured(IMPORTS), measured(predict)))
    for number, what in enumerate(("wall", "CPU")):
        imports, predicts = zip(*((one[number], two[number]) for one, two in pairs), strict=True)
        ratios = [two / one for one, two in zip(imports, predicts, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"{what}: imports {statistics.median(imports):.2f} s, "
            f"predict {statistics.median(predicts):.2f} s; "
            f"ratio {statistics.median(ratios):.2f} (quartiles {low:.2f}, {high:.2f})"
        )


if __name__ == "__main__":
    main()
