from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from magsd_cli.render import charts
from magsd_cli.render.charts import (
    Case,
    coverage_figure,
    gallery_figure,
    iou_figure,
    reliability_figure,
    training_figure,
)
from magsd_cli.render.curves import (
    NetBenefit,
    PrecisionRecall,
    net_benefit_figure,
    precision_recall_figure,
)
from magsd_cli.render.document import Drawing
from magsd_cli.render.fig6_roc import Curve, roc_figure
from magsd_cli.render.fig8_confusion import confusion_figure, confusion_grid

PNG = b"\x89PNG\r\n\x1a\n"


def _texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All words of the next figure, collected where it is drawn."""
    found: list[str] = []
    original = charts.drawing

    def spy(figure):  # type: ignore[no-untyped-def]
        from matplotlib.text import Text

        found.extend(text.get_text() for text in figure.findobj(Text))
        return original(figure)

    monkeypatch.setattr(charts, "drawing", spy)
    return found


def test_roc(monkeypatch: pytest.MonkeyPatch) -> None:
    words = _texts(monkeypatch)
    rates = np.array([0.0, 0.5, 1.0])
    curves = [Curve("COVID-19", rates, rates**0.5, 0.75), Curve("$x_1$ | <b>", rates, rates, None)]
    assert roc_figure(curves, "Out of fold").png.startswith(PNG)
    assert "COVID-19 (AUC 75.00%)" in words
    assert any("(AUC n/a)" in word for word in words)
    assert any("specificity" in word for word in words)


def test_confusion_shows_share_above_count(monkeypatch: pytest.MonkeyPatch) -> None:
    words = _texts(monkeypatch)
    assert confusion_figure([[3, 1], [0, 0]], ["a", "b"], "t").png.startswith(PNG)
    assert {"0.75", "0.25", "3", "1"} <= set(words)
    assert words.count("n/a") == 2


def test_training_of_one_epoch_is_a_point() -> None:
    assert training_figure({0: {"loss": [1.0], "train_share_correct": [0.5]}}).png.startswith(PNG)


def test_gallery_without_attention_and_with_a_flat_one() -> None:
    pixels = np.zeros((16, 16), np.uint8)
    cases = [Case("a", pixels), Case("b\nc", pixels, np.ones((2, 2), np.float32)), Case("d", pixels)]
    assert gallery_figure(cases).png.startswith(PNG)
    assert gallery_figure(cases[:1]).png.startswith(PNG)


def test_a_name_without_glyphs_is_no_crash() -> None:
    assert confusion_figure([[1, 0], [0, 1]], ["肺炎", "\u202ea"], "t").png.startswith(PNG)


def test_the_same_figure_gives_the_same_bytes_and_no_pyplot() -> None:
    before = "matplotlib.pyplot" in sys.modules  # another test's
    assert confusion_figure([[1]], ["a"], "t") == confusion_figure([[1]], ["a"], "t")
    assert ("matplotlib.pyplot" in sys.modules) == before


NAMES = ["COVID-19", "Normal", "a class with a name that is far longer than others", "x"]


def _every_figure(long: int) -> dict[str, Callable[[], Drawing]]:
    """All of the report's figures, with `long` classes and folds."""
    names = [NAMES[n % len(NAMES)] + "!" * (n // len(NAMES)) for n in range(long)]
    rates = np.linspace(0, 1, 20)
    matrix = np.arange(long * long).reshape(long, long)
    pixels = np.zeros((16, 16), np.uint8)
    history = {"loss": [1.0, 0.5], "train_share_correct": [0.5, 0.9]}
    bins = (rates[:10], rates[:10] ** 2, np.arange(10))
    iou = dict.fromkeys(("attention", "of others", "untrained"), rates)
    return {
        "roc": lambda: roc_figure(
            [
                Curve(name, rates, rates**0.5, 0.7, False, "[60.0 to 80.0]", (rates, rates**0.6, rates**0.4))
                for name in names
            ],
            "Pooled",
        ),
        "confusion": lambda: confusion_figure(
            matrix, names, "Confusion matrix, all out-of-fold images pooled"
        ),
        "grid": lambda: confusion_grid(dict.fromkeys(names, matrix), names),
        "training": lambda: training_figure(dict.fromkeys(range(long), history)),
        "reliability": lambda: reliability_figure({"as the network says": bins, "scaled": bins}),
        "coverage": lambda: coverage_figure(rates[1:], rates[1:] / 4, 0.25),
        "precision-recall": lambda: precision_recall_figure(
            [PrecisionRecall(name, rates, 1 - rates, "70.00% [60.0 to 80.0]", 0.3) for name in names], "All"
        ),
        "net-benefit": lambda: net_benefit_figure(
            [NetBenefit(name, rates[1:-1], *[0.3 - rates[1:-1]] * 4, 0.3) for name in names]
        ),
        "iou": lambda: iou_figure({f"{name}, 3 images": iou for name in names}),
        "gallery": lambda: gallery_figure(
            [Case(f"{n}\n{n}", pixels, rates[:16].reshape(4, 4)) for n in names]
        ),
    }


@pytest.mark.parametrize("long", [2, 3, 9])
@pytest.mark.parametrize("name", list(_every_figure(2)))
def test_no_words_lie_outside_the_picture(name: str, long: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word that is seen lies inside the picture, in all of the report's figures."""
    outside: list[str] = []

    def check(figure: Figure) -> Drawing:
        charts.settle(figure)
        frame, unseen = figure.bbox.padded(2), _unseen(figure)
        for text in figure.findobj(Text):
            if text.get_visible() and text.get_text().strip() and id(text) not in unseen:
                (left, low), (right, high) = text.get_window_extent().get_points()
                inside = frame.contains(left, low) and frame.contains(right, high)
                outside.extend([] if inside else [text.get_text()])
        return Drawing(PNG)

    monkeypatch.setattr(charts, "drawing", check)
    _every_figure(long)[name]()
    assert outside == []


def test_no_title_of_the_cases_runs_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []

    def check(figure: Figure) -> Drawing:
        charts.settle(figure)
        titles = [text for axes in figure.axes for text in axes.findobj(Text) if text.get_text().strip()]
        attention = [text.get_window_extent() for text in titles if text.get_text() == "attention"]
        cases = [text.get_window_extent() for text in titles if "\n" in text.get_text()]
        assert len(attention) == len(cases) == 4
        for case in cases:  # its last line stands as high as the word beside it
            last = Bbox.from_extents(case.x0, case.y0, case.x1, (case.y0 + case.y1) / 2)
            found.extend(last.overlaps(word) for word in attention)
        return Drawing(PNG)

    monkeypatch.setattr(charts, "drawing", check)
    pixels, attention = np.zeros((16, 16), np.uint8), np.eye(4, dtype=np.float32)
    gallery_figure([Case(f"COVID-19, called Normal\n{'0A' * 30}", pixels, attention) for _ in range(4)])
    assert found
    assert not any(found)


def _unseen(figure: Figure) -> set[int]:
    """Ids of the labels of ticks beyond their axis, and of all of an axis that is off."""
    found: set[int] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found |= set() if axes.axison else {id(axis.label)}
            for tick in (*axis.majorTicks, *axis.minorTicks):
                if not axes.axison or not low <= tick.get_loc() <= high:
                    found |= {id(tick.label1), id(tick.label2)}
    return found


def test_a_figure_is_a_png_and_an_svg_and_always_the_same() -> None:
    rates = np.array([0.0, 0.5, 1.0])
    once, again = (roc_figure([Curve("a", rates, rates, 0.5)], "t") for _ in range(2))
    assert once == again
    assert once.svg.startswith(b"<?xml")


def test_epochs_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []

    def note(figure: Figure) -> Drawing:
        ticks.extend(figure.axes[0].get_xticks())
        return Drawing(PNG)

    monkeypatch.setattr(charts, "drawing", note)
    training_figure({0: {"loss": [1.0, 0.5, 0.4], "train_share_correct": [0.5, 0.9, 0.9]}})
    assert {1, 2, 3} <= set(ticks)
    assert all(float(tick).is_integer() for tick in ticks)
