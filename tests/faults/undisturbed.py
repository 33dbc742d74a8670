"""What the faults are done to: X-rays, four commands on them, and what each gives undisturbed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from nursery import Nursery
from tiny_run import KEYS

from magsd_cli.artifacts.tables import OUT_OF_FOLD, PREDICTION, read_table
from magsd_cli.tools.verify import check_files, files_in

IMAGES = 40
COMMANDS = ("prepare", "train", "cv", "predict")
SETTINGS = (*KEYS, "model.stages=3", "train.epochs=2", "train.batch_size=8", "train.lr=0.01")
#: The ends of a command that did its work: two of the pictures are broken, and have an error row.
DONE = {"prepare": 3, "train": 0, "cv": 0, "predict": 3}


@dataclass(frozen=True)
class Site:
    """`folder` holds xrays/ and whole/, the runs of commands that nothing disturbed; `seconds` they took."""

    folder: Path
    nursery: Nursery
    seconds: dict[str, float]

    def words(self, command: str, runs: Path) -> list[object]:
        """The command line of `command` that leaves its work under `runs`."""
        cache = next((self.folder / "whole" / "cache").glob("*.h5"), "")
        sets = [part for key in SETTINGS for part in ("--set", key)]
        train = ["--cache", cache, "--device", "cpu", "--name", command, *sets]
        model = self.folder / "whole" / "train"
        return {
            "prepare": ["prepare", self.folder / "xrays", "--runs", runs, "--size", 64, "--workers", 2],
            "train": ["train", "--runs", runs, *train],
            "cv": ["cv", "--folds", 2, "--runs", runs, *train],
            "predict": [
                *("predict", self.folder / "xrays", "--model", model, "--device", "cpu"),
                *("--workers", 2, "--out", runs / "t.parquet", "--resume"),
            ],
        }[command]

    def compare(self, command: str, runs: Path) -> None:
        """`runs` holds what the undisturbed command gave: nothing lost, doubled or changed, nothing left."""
        whole = results(self.folder / "whole", command)
        found = results(runs, command)
        assert set(found) == set(whole)
        for name, data in whole.items():
            assert found[name] == data, f"{command}: {name} differs"
        assert not list(runs.rglob(".*.tmp"))
        assert not list(runs.rglob(".*.partial"))


def make_site(folder: Path, nursery: Nursery) -> Site:
    """Draw the pictures and run each command once."""
    for number in range(IMAGES):
        path = folder / "xrays" / ("COVID-19", "Normal")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 90 + 2 * number, (300, 300), dtype=np.uint8)
        cv2.imwrite(str(path), pixels)
        if number in (7, 18):
            path.write_bytes(path.read_bytes()[:1000])
    site = Site(folder, nursery, {})
    for command in COMMANDS:
        start, log = time.monotonic(), folder / f"{command}.log"
        kept = ["--keep-state"] if command == "cv" else []  # for the tests that damage a state
        code = nursery.run([*site.words(command, folder / "whole"), *kept], log)
        assert code == DONE[command], log.read_text()
        site.seconds[command] = time.monotonic() - start
    return site


def results(runs: Path, command: str) -> dict[str, bytes]:
    """The files that a command leaves, but for what tells of times and attempts, and sidecars."""
    if command == "predict":
        return {"t.parquet": (runs / "t.parquet").read_bytes()}
    folder = runs / {"prepare": "cache"}.get(command, command)
    varying = ("provenance.json", "state.pt", "history.parquet")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files_in(folder)
        if path.name not in varying and "work" not in path.parts
    }


def check_whole(runs: Path) -> int:
    """Every artifact under its final name is complete and matches its hash; how many there are."""
    there = [path for path in files_in(runs) if path.is_file()] if runs.exists() else []
    verdict = check_files(there)
    assert verdict.problems == ()
    for path in verdict.whole:
        if path.name == "t.parquet":
            assert len(read_table(path, PREDICTION)) == IMAGES
        elif path.name == "predictions.parquet" and "fold" not in path.parent.name:
            read_table(path, OUT_OF_FOLD)
    return len(verdict.whole)
