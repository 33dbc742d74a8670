"""What the leak gate grouped, and proof that it holds: `bench/duplicates.py CACHE OUT.png [--bits 60]`.

Lists the pairs of images whose perceptual hashes are nearest, says which of them cross patients, makes folds
with five seeds and counts the near-duplicates and patients that cross them (none may), and draws the pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from magsd_cli.artifacts.cache import open_cache
from magsd_cli.data.audit import NEAR, near_pairs
from magsd_cli.data.folds import make_folds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bits", type=int, default=60)
    parser.add_argument("--folds", type=int, default=5)
    options = parser.parse_args()
    cache = open_cache(options.cache)
    samples = cache.samples().query("status == 'ok'").reset_index(drop=True)
    patients, hashes = list(samples["patient_id"]), list(samples["perceptual_hash"])
    pairs = sorted(near_pairs(hashes, options.bits), key=lambda pair: pair[2])
    rows = []
    for i, j, bits in pairs[:12]:
        same = "same patient" if patients[i] == patients[j] else "different patients"
        grouped = "one group" if bits <= NEAR else "not grouped"
        print(f"{bits:3} bits, {same}, {grouped}: {samples['image_id'][i]}, {samples['image_id'][j]}")
        row = np.hstack([cache.images[i, 0], cache.images[j, 0]])
        cv2.putText(row, f"{bits} bits, {same}", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, 255)
        rows.append(row)
    for seed in range(5):
        folds = make_folds(cache.labels, cache.group_ids, options.folds, seed)
        crossing = sum(folds[i] != folds[j] for i, j, bits in pairs if bits <= NEAR)
        spread = samples.assign(fold=folds).query("patient_id != ''").groupby("patient_id")["fold"].nunique()
        print(f"seed {seed}: {crossing} near-duplicates and {(spread > 1).sum()} patients cross folds")
    if rows:
        half = (len(rows) + 1) // 2
        rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
        cv2.imwrite(str(options.out), np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])]))


if __name__ == "__main__":
    main()
