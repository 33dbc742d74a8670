"""The comparison beside the paper's tables: published figures, differences, rankings, paired tests."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magsd_cli.evaluation.comparison import ComparedRun, Cost
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.render.document import Figure, Paragraph, Table
from magsd_cli.report.comparison import comparison_blocks, cost_table, picture_blocks
from magsd_cli.report.paper_comparison import published_blocks, published_figures
from magsd_cli.report.significance import contrast_blocks

CLASSES = ["COVID-19", "Normal", "Pneumonia"]


def metrics(accuracy: float) -> dict[str, Any]:
    names = ("accuracy", "sensitivity", "specificity", "f1", "auc")
    return {
        "mean": dict.fromkeys(names, accuracy),
        "std": dict.fromkeys(names, 0.01),
        "pooled": {"accuracy": accuracy, "n": 6, "confusion": [[1, 1, 0], [0, 2, 0], [0, 1, 1]]},
        "classes": CLASSES,
    }


def compared_run(name: str, accuracy: float, row: str, seed: int = 0, images: int = 60) -> ComparedRun:
    rng = np.random.default_rng(seed)
    truth = np.arange(images) % 3
    right = rng.random(images) < accuracy
    scores = np.full((images, 3), 0.2)
    scores[np.arange(images), np.where(right, truth, (truth + 1) % 3)] = 0.6
    ids = tuple(f"image{i}" for i in range(images))
    found = Predictions(ids, truth, scores, np.arange(images) % 5, ids, tuple(CLASSES))
    rows = ((3, row),) if row else ()
    return ComparedRun(name, name, metrics(accuracy), "d", found, rows, Cost(2_500_000, 10**9, 90.0, 3))


def tables(blocks: Any) -> list[Table]:
    return [block for block in blocks if isinstance(block, Table)]


@pytest.mark.real
def test_the_projects_copy_of_the_papers_figures(shared_data: Path) -> None:
    with (shared_data.parent / "paper" / "tables.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["row"] and line["metric"] == "accuracy"]
    found = published_figures()
    known = [line for line in lines if line["table"] in set("345678")]
    assert known
    for line in known:
        figure = found[(int(line["table"]), line["row"], line["dataset"], "accuracy")]
        assert figure.mean == pytest.approx(float(line["mean_percent"]) / 100)


def test_the_papers_rows_with_differences_and_ranks() -> None:
    runs = [
        compared_run("a", 0.9, "ResNet18"),
        compared_run("b", 0.5, "MAG-SD (proposed)"),
        compared_run("c", 0.7, "VGG16"),
    ]
    (table,) = tables(published_blocks(runs))
    by_row = {row[0]: row for row in table.rows}
    assert list(by_row) == ["VGG16", "ResNet18", "MAG-SD (proposed)"]  # the paper's order
    theirs = published_figures()[(3, "ResNet18", "B", "accuracy")].mean  # three classes: its set B
    assert by_row["ResNet18"][-3] == f"{90 - 100 * theirs:+.2f}"
    assert [by_row[name][-2] for name in by_row] == ["2", "1", "3"]
    words = next(block.text for block in published_blocks(runs) if isinstance(block, Paragraph))
    assert (
        "Spearman's correlation -0.50" in words
    )  # theirs: MAG-SD, ResNet18, VGG16; ours: ResNet18, VGG16, MAG-SD
    assert not published_blocks([compared_run("a", 0.9, "")])


def test_differences_from_the_best_are_paired_and_adjusted() -> None:
    best, close, far = (
        compared_run("best", 0.95, ""),
        compared_run("close", 0.94, "", 0),
        compared_run("far", 0.4, "", 2),
    )
    (table,) = tables(contrast_blocks([far, best, close]))
    rows = {row[0]: row for row in table.rows}
    assert set(rows) == {"far", "close"}
    assert float(rows["far"][1].split()[0]) < -30
    assert rows["far"][2] < "0.01"
    assert float(rows["close"][1].split()[0]) == pytest.approx(0, abs=5)
    assert rows["close"][2] == "1.000"
    other = compared_run("other images", 0.3, "", images=30)
    assert "no other run" in next(b.text for b in contrast_blocks([best, other]) if isinstance(b, Paragraph))


def test_costs_and_pictures() -> None:
    runs = [compared_run(f"run {number}", 0.5 + number / 20, "") for number in range(5)]
    assert tables([cost_table(runs)])[0].rows[0] == ("run 0", "2.50", "1.00", "1.5", "30.0")
    assert len(tables(comparison_blocks(runs))[0].rows) == 5
    pictures = [block for block in picture_blocks(runs) if isinstance(block, Figure)]
    assert [picture.name for picture in pictures] == ["roc", "confusions"]
    assert "run 4: COVID-19 1 of 2, Normal 2 of 2, Pneumonia 1 of 2" in pictures[1].alt
