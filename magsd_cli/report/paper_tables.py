"""The paper's tables 3 to 8, from the project's copy of their figures (paper_tables.csv)."""

from __future__ import annotations

import csv
import functools
from importlib import resources
from typing import NamedTuple

SETS = {2: "A", 3: "B", 4: "C"}  # the paper's data set with so many classes (Table 1)


class Published(NamedTuple):
    """A published figure: mean and standard deviation over the paper's folds, as fractions."""

    mean: float
    deviation: float


@functools.cache
def published_figures() -> dict[tuple[int, str, str, str], Published]:
    """Tables 3 to 8 of the paper: (table, row, data set, metric) -> its figure."""
    text = resources.files("magsd_cli.report").joinpath("paper_tables.csv").read_text(encoding="utf-8")
    return {
        (int(line["table"]), line["row"], line["dataset"], line["metric"]): Published(
            float(line["mean_percent"]) / 100, float(line["std_percent"]) / 100
        )
        for line in csv.DictReader(text.splitlines())
    }
