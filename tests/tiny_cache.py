"""A cache that trains in seconds: dark and bright centres on noise, three images a patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from magsd_cli.artifacts.cache import SAMPLE_COLUMNS, write_cache
from magsd_cli.settings import Preprocessing

CLASSES = ("bright", "dark")


def write_tiny_cache(
    folder: Path, count: int = 18, size: int = 64, patients: bool = True, seed: int = 0
) -> Path:
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 160, (count, 1, size, size)).astype(np.uint8)
    bright = np.arange(count) // 3 % 2 == 0
    half, quarter = size // 2, size // 4
    images[bright, :, quarter : quarter + half, quarter : quarter + half] += 90
    frame = pd.DataFrame({column: [""] * count for column in SAMPLE_COLUMNS})
    frame["image_id"] = [f"image{i}" for i in range(count)]
    frame["path"] = [f"/xrays/image{i}.png" for i in range(count)]
    frame["sha256"] = [f"{seed:032d}{i:032d}" for i in range(count)]
    frame["status"] = "ok"
    frame["label"] = np.where(bright, *CLASSES)
    frame["patient_id"] = [f"patient{i // 3}" if patients else "" for i in range(count)]
    frame["warnings"] = [[] for _ in range(count)]
    frame["width"] = frame["height"] = size
    frame["index"] = range(count)
    return write_cache(folder, "tiny", frame.to_dict("records"), [images], CLASSES, Preprocessing(size=size))
