"""The comparison beside the paper's tables: published figures, differences, rankings, paired tests."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magsd_cli.errors import UsageError
from magsd_cli.evaluation.comparison import ComparedRun, Cost, joined
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.metrics.rates import METRICS
from magsd_cli.render.document import Caution, Figure, Heading, Paragraph, Table
from magsd_cli.report.comparison import comparison_blocks, cost_table, picture_blocks
from magsd_cli.report.paper_comparison import published_blocks, published_figures
from magsd_cli.report.significance import contrast_blocks, interval_blocks

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
    assert rows["far"][1] == rows["close"][1] == "trained networks"
    assert float(rows["far"][2].split()[0]) < -30
    assert rows["far"][3] == "n/a"
    assert rows["far"][4] == "< 0.001"
    assert float(rows["close"][2].split()[0]) == pytest.approx(0, abs=5)
    assert rows["close"][4] == "1.000"
    assert "chosen by these very figures" in table.caption
    other = compared_run("other images", 0.3, "", images=30)
    assert "no other run" in next(b.text for b in contrast_blocks([best, other]) if isinstance(b, Paragraph))


def repeated(title: str, accuracies: Sequence[float], first_seed: int = 0) -> ComparedRun:
    """A row of as many runs, each with the seed, the folds and the errors of its number."""
    runs = []
    for seed, accuracy in enumerate(accuracies, start=first_seed):
        run = compared_run(f"{title}-{seed}", accuracy, "", seed)
        values = {**run.metrics, "folds": [{"accuracy": accuracy + step} for step in (-0.01, 0.01)]}
        for fold in values["folds"]:
            fold.update(dict.fromkeys(METRICS[1:], accuracy))
        runs.append(replace(run, title=title, metrics=values, seed=seed))
    return joined(runs)


def test_repeats_are_one_row_with_the_mean_of_all_folds() -> None:
    row = repeated("a", [0.6, 0.8])
    assert [run.seed for run in row.runs] == [0, 1]
    (table,) = tables(comparison_blocks([row]))
    assert len(table.rows) == 1
    assert table.rows[0][1:4] == ("a-0 and 1 more (seeds 0, 1)", "6", "70.00 ± 11.60")
    assert row.metrics["pooled"]["confusion"] == [[2, 2, 0], [0, 4, 0], [0, 2, 2]]
    assert row.predictions is not None
    assert len(row.predictions) == 120
    assert row.cost == Cost(2_500_000, 10**9, 90.0, 3)
    assert joined(row.runs[:1]) is row.runs[0]


def test_intervals_show_seeds_beside_patients() -> None:
    rows = [repeated("three", [0.6, 0.8, 0.7]), compared_run("alone", 0.7, "")]
    (table,) = tables(interval_blocks(rows))
    three, alone = table.rows
    found = [float(np.mean(run.predictions.called == run.predictions.truth)) for run in rows[0].runs]
    assert three[:2] == ("three", "3")
    assert three[2].startswith(f"{100 * np.mean(found):.2f} [")
    assert float(three[3]) == pytest.approx(100 * np.std(found, ddof=1), abs=0.01)
    assert float(three[4]) == pytest.approx(
        100 * np.sqrt(np.mean([p * (1 - p) / 60 for p in found])), rel=0.05
    )
    assert alone[1] == "1"
    assert alone[3] == alone[6] == "n/a"
    gone = replace(rows[1], predictions=None)
    assert tables(interval_blocks([gone]))[0].rows == (("alone", "1", *["n/a"] * 6),)


def test_differences_of_repeats_are_of_methods_and_of_the_seeds_that_both_have() -> None:
    """`a` has the seeds 0 to 2, `b` 1 to 3: two in common; each is paired with the run of its own seed."""
    good, bad = repeated("a", [0.9, 0.9, 0.9]), repeated("b", [0.5, 0.6, 0.7], first_seed=1)
    (table,) = tables(contrast_blocks([good, bad, compared_run("alone", 0.5, "", 9)], "b"))
    rows = {row[0]: row for row in table.rows}
    assert [rows[name][1] for name in ("a", "alone")] == ["methods (2 seeds)", "trained networks"]
    right = {
        run.name: float(np.mean(run.predictions.called == run.predictions.truth))
        for row in (good, bad)
        for run in row.runs
    }
    apart = [right["a-1"] - right["b-1"], right["a-2"] - right["b-2"]]
    assert float(rows["a"][2].split()[0]) == pytest.approx(100 * np.mean(apart), abs=0.01)
    assert float(rows["a"][3]) == pytest.approx(100 * np.std(apart, ddof=1), abs=0.01)
    assert "chosen by these very figures" not in table.caption


def test_the_reference_is_a_title_a_recipe_or_a_run() -> None:
    rows = [compared_run("one", 0.9, ""), replace(compared_run("two", 0.5, ""), recipe="table3/two")]
    rows.append(replace(repeated("three", [0.6, 0.8]), recipe="table3/three"))
    for name, title in (("two", "two"), ("table3/two", "two"), ("runs/three-1/", "three"), ("one", "one")):
        (heading,) = (block for block in contrast_blocks(rows, name) if isinstance(block, Heading))
        assert heading.text == f"Differences from {title}"
    with pytest.raises(UsageError, match="no row is called so; the rows are: one; two; three"):
        contrast_blocks(rows, "four")


def test_rows_of_one_run_are_said_to_be_trained_networks() -> None:
    def words(rows: list[ComparedRun]) -> list[str]:
        return [block.text for block in comparison_blocks(rows) if isinstance(block, Caution)]

    single, several = compared_run("one", 0.9, ""), repeated("two", [0.6, 0.8])
    assert any(text.startswith("The rows are one run each") for text in words([single]))
    assert any(text.startswith("1 of 2 rows are one run each") for text in words([single, several]))
    assert not any("one run each" in text for text in words([several]))
    assert not any("folds" in text for text in words([single, several]))  # the same ones for the same seed
    moved = np.arange(60) % 4
    other = replace(single, predictions=replace(single.predictions, folds=moved))
    assert any("other folds" in text for text in words([other, several]))
    assert any("other folds" in text for text in words([replace(other, seed=7), single]))


def test_rows_that_share_a_row_of_the_paper_are_told_apart() -> None:
    runs = [
        compared_run("a", 0.9, "ResNet18"),
        compared_run("b", 0.5, "ResNet18"),
        compared_run("c", 0.7, "VGG16"),
    ]
    (table,) = tables(published_blocks(runs))
    assert [row[0] for row in table.rows] == ["VGG16", "ResNet18: a", "ResNet18: b"]


def test_costs_and_pictures() -> None:
    runs = [compared_run(f"run {number}", 0.5 + number / 20, "") for number in range(5)]
    assert tables([cost_table(runs)])[0].rows[0] == ("run 0", "2.50", "1.00", "1.5", "30.0")
    assert len(tables(comparison_blocks(runs))[0].rows) == 5
    pictures = [block for block in picture_blocks(runs) if isinstance(block, Figure)]
    assert [picture.name for picture in pictures] == ["roc", "confusions"]
    assert "run 4: COVID-19 1 of 2, Normal 2 of 2, Pneumonia 1 of 2" in pictures[1].alt
