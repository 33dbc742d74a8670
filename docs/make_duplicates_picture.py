"""Draws docs/duplicates.png: what the leak gate grouped, and what came nearest without being grouped.

Only films of ChestX-ray8 are drawn, whose licence allows it; all pairs are printed.

    magsd prepare ../shared/data/cxr
    python docs/make_duplicates_picture.py runs/cache/cxr-HASH.h5

Prints the pairs of images whose perceptual hashes are nearest, and for five seeds how many near-duplicates,
patients and exams cross five folds (none may).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.cache import Cache, open_cache
from magsd_cli.artifacts.files import write_bytes
from magsd_cli.preparation.duplicates import NEAR, near_pairs
from magsd_cli.training.folds import make_folds

OUT = Path(__file__).resolve().with_name("duplicates.png")
SIDE, STRIP, COLUMNS, ROWS = 150, 20, 2, 4
FARTHEST = 64  # bits of 256: how far the nearest pairs are looked for
SEEDS, FOLDS = range(5), 5
OURS = "ChestX-ray8"

Picture = npt.NDArray[np.uint8]


def caption(bits: int, same_patient: bool) -> str:
    """How far two pictures are from each other, and what the gate did with them."""
    reason = "look alike" if bits <= NEAR else "same patient" if same_patient else ""
    whose = "one patient" if same_patient else "two patients"
    return f"{bits} bits, {whose}: " + (f"one group ({reason})" if reason else "apart")


def draw_pair(one: Picture, two: Picture, words: str) -> Picture:
    """Two pictures [S,S] side by side over their caption: [SIDE + STRIP, 2 SIDE]."""
    small = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in (one, two)]
    strip = np.full((STRIP, 2 * SIDE), 255, np.uint8)
    cv2.putText(strip, words, (3, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38, 0, 1, cv2.LINE_AA)
    return np.vstack([np.hstack(small), strip])


def draw(panels: Sequence[Picture]) -> Picture:
    """The panels in `COLUMNS` columns and `ROWS` rows, the rest white."""
    blank = np.full_like(panels[0], 255)
    full = [*panels, *[blank] * (COLUMNS * ROWS)][: COLUMNS * ROWS]
    gap = np.full((len(blank), 8), 255, np.uint8)
    lines = [full[start : start + COLUMNS] for start in range(0, len(full), COLUMNS)]
    return np.vstack([np.hstack([line[0], gap, *line[1:]]) for line in lines])


def print_crossings(cache: Cache, pairs: Sequence[tuple[int, int, int]]) -> None:
    """How many near-duplicates, patients and exams have images in more than one fold."""
    samples = cache.samples().query("status == 'ok'")
    for seed in SEEDS:
        folds = make_folds(cache.labels, cache.group_ids, FOLDS, seed)
        alike = sum(folds[i] != folds[j] for i, j, bits in pairs if bits <= NEAR)
        spread = samples.assign(fold=folds)
        patients, exams = (
            int((spread[spread[name] != ""].groupby(name)["fold"].nunique() > 1).sum())
            for name in ("patient_id", "exam_id")
        )
        print(f"seed {seed}: {alike} near-duplicates, {patients} patients and {exams} exams cross folds")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cache", type=Path)
    cache = open_cache(parser.parse_args().cache)
    hashes = cache.samples().query("status == 'ok'")["perceptual_hash"]
    pairs = sorted(near_pairs(list(hashes), FARTHEST), key=lambda pair: pair[2])
    panels = []
    sources = list(cache.samples().query("status == 'ok'")["source"])
    for i, j, bits in pairs[: 2 * COLUMNS * ROWS]:
        words = caption(bits, cache.patient_ids[i] == cache.patient_ids[j] != "")
        print(f"{words}: {cache.image_ids[i]}, {cache.image_ids[j]}")
        if {sources[i], sources[j]} == {OURS}:
            panels.append(draw_pair(cache.images[i, 0], cache.images[j, 0], words))
    panels = panels[: COLUMNS * ROWS]
    print_crossings(cache, pairs)
    if panels:
        write_bytes(OUT, bytes(cv2.imencode(".png", draw(panels), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]))
        print(OUT)


if __name__ == "__main__":
    main()
