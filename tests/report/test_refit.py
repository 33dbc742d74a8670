"""A run with a network on all images: report and card say whose figures they show, and what "auto" chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from facts import some_facts, some_predictions

from magsd_cli.artifacts.precision import PrecisionChoice
from magsd_cli.artifacts.runs import write_json_hashed
from magsd_cli.errors import ArtifactError
from magsd_cli.evaluation.cross_validation import cross_validated
from magsd_cli.evaluation.facts import Facts
from magsd_cli.evaluation.results import _read_refit
from magsd_cli.render.markdown import render_markdown
from magsd_cli.report.model_card import describe_card
from magsd_cli.report.sections import provenance
from magsd_cli.report.sections.summary import summary_section

CLASSES = ("bright", "dark")


def facts(**changes: Any) -> Facts:
    truth = np.array([0, 1, 0, 1])
    bright = np.array([0.9, 0.2, 0.4, 0.1])
    table = pd.DataFrame(
        {"label": [CLASSES[k] for k in truth], "fold": [0, 0, 1, 1], "p_bright": bright, "p_dark": 1 - bright}
    )
    table["predicted"] = np.where(bright > 0.5, *CLASSES)
    metrics = {
        **cross_validated(table, CLASSES),
        "pooled_intervals": {"over": "patients", "draws": 10},
    }
    scores = np.stack([bright, 1 - bright], axis=1)
    found = some_predictions(truth, scores, CLASSES, np.array([0, 0, 1, 1]))
    return some_facts(found, metrics=metrics, weights=True, majority="dark", **changes)


def card(found: Facts) -> str:
    return render_markdown(describe_card(found), "figures")


def words(found: Facts) -> str:
    return " ".join(str(block) for block in summary_section(found))


def test_the_report_says_that_no_figure_is_of_the_refit_network() -> None:
    said = words(facts(refit_images=8))
    assert "one network that was trained on all 8 images" in said
    assert "every figure of this report is of the networks of the folds" in said
    assert "refit" not in words(facts())


def test_so_does_the_card() -> None:
    said = card(facts(refit_images=8))
    assert "one network that was trained on all 8 images" in said
    assert "The refit network has no figures of its own" in said
    assert "With --network refit: the softmax of the refit network alone." in said
    assert "refit" not in card(facts())


def test_how_many_images_it_was_trained_on_is_read_and_checked(tmp_path: Path) -> None:
    run = some_facts(path=tmp_path).results.run
    assert _read_refit(run) is None
    path = tmp_path / "refit" / "refit.json"
    write_json_hashed(path, {"trained_on_images": 8})
    assert _read_refit(run) == 8
    path.write_text('{"trained_on_images": 9}')
    with pytest.raises(ArtifactError, match="does not match"):
        _read_refit(run)


def test_the_precision_that_was_chosen_is_in_the_provenance() -> None:
    run = some_facts().results.run
    assert provenance._precision(run) == []
    choice = PrecisionChoice("bf16", "cpu", "", 20, {"fp32": 2.0, "bf16": 1.0}, {"fp32": 1.0, "bf16": 1.01})
    run = some_facts(precision=choice).results.run
    ((title, said),) = provenance._precision(run)
    assert title == "training precision (auto)"
    assert said == "bf16 on cpu: 1000 ms a step, fp32 2000 ms; loss after 20 steps: 1.0100, fp32 1.0000"
