"""Judging one image's answers, by hand: temperature before the mean, decision, reasons to refer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from operating_points import decision, operating_point

from magsd_cli.errors import ArtifactError
from magsd_cli.inference.decision import (
    DISAGREE,
    UNLIKE,
    UNSURE,
    DecisionRules,
    appearance_of,
    decide,
    in_metadata,
    mean_probabilities,
    rules_of,
)
from magsd_cli.inference.model import Model
from magsd_cli.settings import Preprocessing

CLASSES = ("COVID-19", "Normal", "Pneumonia")
MEMBERS = np.array([[0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])
MODEL = Model("m", "a" * 64, CLASSES, (0, 1, 2), Preprocessing(64), {}, "", None, None)
STORED = operating_point(decision=decision(threshold=0.3))


def test_each_network_is_tempered_before_the_mean() -> None:
    roots = np.sqrt(MEMBERS)  # temperature 2: the square roots, made to sum to 1
    expected = (roots / roots.sum(axis=1, keepdims=True)).mean(axis=0)
    assert mean_probabilities(MEMBERS, 2.0) == pytest.approx(expected, abs=1e-6)
    assert mean_probabilities(MEMBERS, None) == pytest.approx(MEMBERS.mean(axis=0), abs=1e-6)
    assert not np.allclose(mean_probabilities(MEMBERS, 2.0), np.sqrt(MEMBERS.mean(axis=0)) / 1.7, atol=1e-3)


def test_without_a_rule_there_is_the_mean_and_nothing_is_decided() -> None:
    row = decide(MEMBERS[1:], None, rules_of(MODEL))
    assert row["predicted"] == "Normal"
    assert row["p_Normal"] == row["confidence"] == pytest.approx(0.55)
    assert (row["decision"], row["refer"], row["refer_reason"]) == (None, None, None)


def test_the_decision_is_of_the_calibrated_probability() -> None:
    rules = DecisionRules(CLASSES, temperature=2.0, positive="COVID-19", threshold=0.34)
    calibrated = float(mean_probabilities(MEMBERS, 2.0)[0])
    assert 0.34 < calibrated < MEMBERS.mean(axis=0)[0]
    assert decide(MEMBERS, None, rules)["decision"] == "COVID-19"
    assert decide(MEMBERS, None, replace(rules, threshold=calibrated))["decision"] == "COVID-19"
    assert decide(MEMBERS, None, replace(rules, threshold=0.36))["decision"] == "not COVID-19"
    raw = decide(MEMBERS, None, replace(rules, threshold=0.36, raw=True))
    assert raw["p_COVID-19"] == pytest.approx(MEMBERS.mean(axis=0)[0])
    assert raw["decision"] == "not COVID-19"  # still by the calibrated one


def test_the_reasons_to_refer() -> None:
    tied = np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.3, 0.6]])
    rules = DecisionRules(CLASSES, limit=2.0, least_confidence=0.35)
    assert decide(MEMBERS[1:], 1.9, rules)["refer"] is False
    assert decide(MEMBERS[1:], 2.1, rules)["refer_reason"] == UNLIKE
    assert decide(MEMBERS, 1.0, rules)["refer"] is False  # two of three agree
    unsure = replace(rules, least_confidence=0.45)
    assert decide(tied, 1.0, unsure)["refer_reason"] == f"{DISAGREE}, {UNSURE}"
    assert decide(tied[:2], 1.0, rules)["refer_reason"] is None  # two that differ are no majority and no tie
    four = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8]])
    assert decide(four, 1.0, DecisionRules(("a", "b"), limit=2.0))["refer_reason"] == DISAGREE
    # Nobody looked whether it is a chest film: that it is fine cannot be said.
    assert decide(MEMBERS[1:], None, rules)["refer"] is None
    assert decide(tied, None, rules)["refer"] is True


def test_rules_come_from_the_model() -> None:
    model = replace(MODEL, operating=STORED)
    rules = rules_of(model)
    assert (rules.temperature, rules.positive, rules.threshold) == (2.0, "COVID-19", 0.3)
    assert (rules.least_confidence, rules.limit) == (0.5, 2.5)
    about = in_metadata(model, rules)
    assert about["temperature"] == 2.0
    assert about["decision"]["threshold"] == 0.3
    assert len(about["operating_sha256"]) == 64
    assert in_metadata(model, rules_of(model, raw=True))["temperature"] is None
    assert in_metadata(MODEL, rules_of(MODEL))["decision"] is None
    nothing = operating_point(decision=None, confidence=None, appearance=None)
    assert rules_of(replace(MODEL, operating=nothing)) == DecisionRules(CLASSES, temperature=2.0)


def test_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"\(class Cat\); run `magsd calibrate` again"):
        rules_of(replace(MODEL, operating=operating_point(decision=decision(positive="Cat"))))


def test_an_appearance_that_is_none_is_refused() -> None:
    assert appearance_of(MODEL) is None
    with pytest.raises(ArtifactError, match="magsd calibrate"):
        appearance_of(replace(MODEL, operating=STORED))
