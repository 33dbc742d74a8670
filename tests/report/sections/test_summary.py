from __future__ import annotations

from magsd_cli.report.sections.summary import (
    Grouping,
    baseline_caution,
    grouping_cautions,
    size_caution,
    source_caution,
)


def test_grouping() -> None:
    assert grouping_cautions(Grouping(unknown=0, images=10, split_patients=0)) == []
    assert "not known" in grouping_cautions(Grouping(10, 10, 0))[0].text
    assert "3 of 10" in grouping_cautions(Grouping(3, 10, 0))[0].text
    assert "must not be quoted" in grouping_cautions(Grouping(0, 10, 2))[0].text


def test_a_class_from_a_source_of_its_own_is_a_shortcut() -> None:
    labels = ["COVID-19"] * 10 + ["Normal"] * 10 + ["Pneumonia"] * 10
    caution = source_caution(labels, ["web"] * 10 + ["clinic"] * 20)
    assert caution is not None
    assert caution.text.startswith("The images of COVID-19 come from other sources")
    assert "Normal: clinic 10" in caution.text


def test_one_source_or_mixed_sources_are_none() -> None:
    labels = ["a"] * 10 + ["b"] * 10
    assert source_caution(labels, ["one"] * 20) is None
    assert source_caution(labels, ["one", "two"] * 10) is None
    # Nine of ten images of a class from a source of its own, one from the common one: still mixed.
    assert source_caution(labels, ["one"] * 9 + ["two"] * 11) is None


def test_no_better_than_the_commonest_class() -> None:
    assert baseline_caution(0.6, 0.5, "a") is None
    assert baseline_caution(None, 0.5, "a") is None
    caution = baseline_caution(0.5, 0.5, "a")
    assert caution is not None
    assert "no better" in caution.text


def test_small_classes_are_named() -> None:
    assert size_caution({"a": 30, "b": 100}) is None
    caution = size_caution({"a": 29, "b": 100})
    assert caution is not None
    assert "a (29)" in caution.text
    assert "b (" not in caution.text
