"""What only a GPU can show: `bench/gpu.sh [--data XRAYS] [--out DIR] [--only STEP ...] [--pretend]`.

Each step runs in processes of its own with a limit of time; one that fails is a row that says so, and the
rest goes on. `gpu.md` in --out (environment OUT, default ./gpu-results) is written anew after each step, from
the results of earlier calls too, so that steps may be spread over several calls with --only. With --pretend
everything runs on the CPU at small sizes: no figures, but each line works before a GPU's minutes are spent.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from growth import lay

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from magsd_cli.artifacts.files import write_json, write_text  # noqa: E402 (the checkout's own)

MACHINE = """
import json, os, platform, sys, torch, torchvision
from magsd_cli.runtime.device import choose_devices, describe
names = {"device": describe(choose_devices(sys.argv[1])[0]), "cores": str(os.cpu_count())}
versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
print(json.dumps(names | versions | {"python": platform.python_version()}))
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
PRECISIONS = {
    "fp32": ["--precision", "fp32", "--tf32", "none"],
    "TF32": ["--precision", "fp32", "--tf32", "all"],
    "bf16": ["--precision", "bf16"],
    "fp16": ["--precision", "fp16"],
    "bf16, torch.compile": ["--precision", "bf16", "--compile"],
}


@dataclass(frozen=True)
class Sizes:
    """How much is done: on a GPU, or pretending."""

    device: str
    batch: int
    rounds: int
    side: int
    pictures: int
    backbone: str
    recipe: str
    keys: tuple[str, ...]
    kill_after: float  #: seconds of training before the kill
    train_for: float  #: seconds of training after it

    @property
    def threads(self) -> str:
        return "1" if self.device == "cpu" else "8"


GPU = Sizes("cuda", 32, 5, 224, 512, "resnet50", "paper", (), 60, 780)
PRETEND = Sizes(
    "cpu", 2, 1, 64, 24, "resnet18", "paper",
    ("model.backbone=resnet18", "image.size=64", "train.batch_size=4", "train.epochs=2"), 8, 600,
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Where things are, and how much is done."""

    out: Path
    data: Path | None
    sizes: Sizes

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    def magsd(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "magsd_cli", "--runs", str(self.runs), *map(str, words)]

    def cache(self) -> Path:
        """The cache to train on, made where it is not there: of --data, or of drawn pictures."""
        found = sorted((self.runs / "cache").glob("*.h5"))
        if not found:
            source = self.data or self.pictures()
            run(self.magsd("prepare", source, "--size", self.sizes.side))
            found = sorted((self.runs / "cache").glob("*.h5"))
        return found[0]

    def pictures(self) -> Path:
        folder = self.out / "xrays"
        if not folder.exists():
            lay(folder, self.sizes.pictures)
        return folder


class StepError(Exception):
    """A process of a step ended with an error; the message is its last line."""


def run(command: list[str], limit: float = 900, codes: tuple[int, ...] = (0,)) -> str:
    """What a command prints on both streams. Raises `StepError` for another exit code and past the limit."""
    try:
        done = subprocess.run(
            command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise StepError(f"longer than {limit:.0f} s") from error
    if done.returncode not in codes:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise StepError(f"exit {done.returncode}: {last}")
    return done.stdout


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """A command in a session of its own, so that a kill can reach its workers; what it says goes nowhere."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, env=ENVIRONMENT, cwd=ROOT, stdout=quiet, stderr=quiet, start_new_session=True
    )


def machine(bench: Bench) -> dict[str, str]:
    """The names of the device, the processor and the libraries."""
    said = run([sys.executable, "-c", MACHINE, bench.sizes.device])
    found: dict[str, str] = json.loads(said.splitlines()[-1])
    return found


def gpu_tests(bench: Bench) -> dict[str, str]:
    """The tests that need a GPU."""
    folder = "tests" if bench.sizes.device == "cuda" else "tests/method"  # to collect all takes a minute
    said = run([sys.executable, "-m", "pytest", "-q", "-m", "gpu", folder])
    return {"pytest -m gpu": said.strip().splitlines()[-1].strip("= ")}


def training_step(bench: Bench) -> dict[str, str]:
    """The step in each precision against the plain network's forward and backward on the same images."""
    sizes, rows = bench.sizes, {}
    common = _step_words(sizes, sizes.rounds)
    for name, keys in PRECISIONS.items():
        if bench.sizes.device == "cpu" and name != "fp32" and name != "bf16":
            continue  # TF32 and fp16 are a GPU's
        try:
            said = run([sys.executable, "bench/train.py", "--no-memory", *common, *keys], 420)
        except StepError as error:
            rows[name] = f"failed: {error}"
            continue
        ratio = _found(r"guided step against plain, time: (.*?) \(", said)
        rows[name] = (
            f"time against plain {ratio}; {_found(r'([0-9.]+) primary images/s$', said)} primary images/s"
        )
    if all(words.startswith("failed") for words in rows.values()):
        raise StepError(next(iter(rows.values())))
    return rows


def memory(bench: Bench) -> dict[str, str]:
    """What a step holds at its peak, against one joint backward."""
    sizes = bench.sizes
    said = run([sys.executable, "bench/train.py", *_step_words(sizes, 0)])
    return {"memory against one joint backward": _found(r"joint backward: ([0-9.]+)", said)}


def _step_words(sizes: Sizes, rounds: int) -> list[str]:
    """The options of bench/train.py that every call has."""
    given = {"device": sizes.device, "batch": sizes.batch, "rounds": rounds, "size": sizes.side}
    given |= {"backbone": sizes.backbone, "threads": sizes.threads}
    return [word for key, value in given.items() for word in (f"--{key}", str(value))]


def two_at_once(bench: Bench) -> dict[str, str]:
    """Two trainings that share the device, against one after the other."""
    cache, sizes = bench.cache(), bench.sizes
    keys = (
        f"model.backbone={sizes.backbone}",
        "model.weights=none",
        "train.epochs=2",
        f"image.size={sizes.side}",
    )

    def command(name: str) -> list[str]:
        sets = [word for key in keys for word in ("--set", key)]
        words = ["--recipe", "base", "--cache", cache, "--device", bench.sizes.device, "--name", name, *sets]
        return bench.magsd("train", *words)

    stamp = f"{time.time_ns()}"
    start = time.monotonic()
    for number in range(2):
        run(command(f"alone-{stamp}-{number}"))
    alone = time.monotonic() - start
    start = time.monotonic()
    both = [_start(command(f"both-{stamp}-{number}")) for number in range(2)]
    if any(process.wait() for process in both):
        raise StepError("one of two trainings side by side failed")
    ratio = alone / (time.monotonic() - start)
    return {"two trainings at once": f"{ratio:.2f} times as fast as one after the other"}


def predicting(bench: Bench) -> dict[str, str]:
    """Images a second of predict with torch on the device; start-up, measured on one image, is taken off."""
    run_folder = next(iter(sorted(bench.runs.glob("alone-*"))), None)
    if run_folder is None:
        raise StepError("needs the run of the step two_at_once; run that first")
    folder = bench.pictures()
    files = sorted(path for path in folder.rglob("*.png"))
    seconds = {}
    for name, source in (("one", files[0]), ("all", folder)):
        words = ["--model", run_folder, "--engine", "torch", "--device", bench.sizes.device, "--overwrite"]
        start = time.monotonic()
        run(bench.magsd("predict", source, *words, "--out", bench.out / f"{name}.parquet"), codes=(0, 3))
        seconds[name] = time.monotonic() - start
    rate = (len(files) - 1) / max(1e-3, seconds["all"] - seconds["one"])
    what = f"{len(files)} PNGs of 256 px, {bench.sizes.backbone} at {bench.sizes.side} px"
    return {"predict with torch": f"{rate:.1f} images/s ({what})"}


def resume(bench: Bench) -> dict[str, str]:
    """The paper's recipe, killed while it trains, and then continued for as long as its time lasts."""
    cache, sizes = bench.cache(), bench.sizes
    sets = [word for key in ("model.weights=none", *sizes.keys) for word in ("--set", key)]
    words = ["--recipe", sizes.recipe, "--cache", cache, "--device", sizes.device, "--name", "paper", *sets]
    command, run_folder = bench.magsd("train", *words), bench.runs / "paper"
    first = _train_for(command, sizes.kill_after, signal.SIGKILL)
    killed_after = _epochs(run_folder)
    code = _train_for(command, sizes.train_for, signal.SIGTERM)
    if code not in (0, 143):
        raise StepError(f"the continued training ended with exit {code}")
    epochs = _epochs(run_folder)
    if code == 143 and epochs <= killed_after:
        raise StepError(f"no epoch was finished after the kill ({killed_after} before it)")
    state = "finished" if code == 0 else "stopped by the time, resumable"
    how = "killed" if first == -signal.SIGKILL else "ended before the kill"
    return {
        "recipe paper": f"{how} after {killed_after} epochs, then {epochs}: {state}; {_history(run_folder)}"
    }


def _train_for(command: list[str], seconds: float, number: signal.Signals) -> int:
    """Run a training for so long at most, then send it a signal; its exit code, 143 for SIGTERM."""
    process = _start(command)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        (os.killpg if number == signal.SIGKILL else os.kill)(process.pid, number)
        return process.wait(120)


def _epochs(run_folder: Path) -> int:
    return len(_rows(run_folder))


def _rows(run_folder: Path) -> list[dict[str, float]]:
    import pyarrow.parquet as pq

    found = sorted(run_folder.glob("fold*/history.parquet"))
    rows: list[dict[str, float]] = pq.read_table(found[0]).to_pylist() if found else []
    return rows


def _history(run_folder: Path) -> str:
    rows = _rows(run_folder)
    if not rows:
        return "no epoch was finished"
    first, last = rows[0], rows[-1]
    rate = last["images_per_second"]
    return f"loss {first['loss']:.2f} to {last['loss']:.2f}, {rate:.1f} primary images/s"


STEPS: dict[str, Callable[[Bench], dict[str, str]]] = {
    "machine": machine,
    "gpu_tests": gpu_tests,
    "training_step": training_step,
    "memory": memory,
    "two_at_once": two_at_once,
    "predicting": predicting,
    "resume": resume,
}


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise StepError(f"its output has no {pattern!r}")
    return match.group(1)


def write_page(out: Path, pretend: bool) -> None:
    """gpu.md: a table of all results so far, in the order of the steps."""
    title = "Pretending, on a CPU at small sizes: no figures" if pretend else "On a GPU"
    lines = [f"# {title}", "", "| step | what | figure | seconds |", "|---|---|---|---|"]
    for name in STEPS:
        path = out / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            lines += [
                f"| {name} | {key} | {value} | {result['seconds']:.0f} |"
                for key, value in result["rows"].items()
            ]
    write_text(out / "gpu.md", "\n".join(lines) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder that prepare reads (default: drawn pictures)")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")))
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--pretend", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.out.resolve(), given.data and given.data.resolve(), PRETEND if given.pretend else GPU)
    failed = False
    for name in given.only:
        start = time.monotonic()
        try:
            rows = STEPS[name](bench)
        except (StepError, OSError) as error:
            rows = {"failed": str(error)}
        failed = failed or any("failed" in (key, value[:6]) for key, value in rows.items())
        result = {"rows": rows, "seconds": time.monotonic() - start}
        write_json(bench.out / f"{name}.json", result)
        write_page(bench.out, given.pretend)
        print(f"{name}: {result['seconds']:.0f} s: {rows}", flush=True)
    print(bench.out / "gpu.md")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
