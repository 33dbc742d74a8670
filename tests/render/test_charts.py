from __future__ import annotations

import sys

import numpy as np
import pytest

from magsd_cli.render import charts
from magsd_cli.render.charts import Case, gallery_figure, training_figure
from magsd_cli.render.fig6_roc import Curve, roc_figure
from magsd_cli.render.fig8_confusion import confusion_figure

PNG = b"\x89PNG\r\n\x1a\n"


def _texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All words of the next figure, collected where it is turned into PNG."""
    found: list[str] = []
    original = charts.as_png

    def spy(figure):  # type: ignore[no-untyped-def]
        from matplotlib.text import Text

        found.extend(text.get_text() for text in figure.findobj(Text))
        return original(figure)

    monkeypatch.setattr(charts, "as_png", spy)
    return found


def test_roc(monkeypatch: pytest.MonkeyPatch) -> None:
    words = _texts(monkeypatch)
    rates = np.array([0.0, 0.5, 1.0])
    curves = [Curve("COVID-19", rates, rates**0.5, 0.75), Curve("$x_1$ | <b>", rates, rates, None)]
    assert roc_figure(curves, "Out of fold").startswith(PNG)
    assert "COVID-19 (AUC 75.00 %)" in words
    assert any("(AUC n/a)" in word for word in words)
    assert any("specificity" in word for word in words)


def test_confusion_shows_share_above_count(monkeypatch: pytest.MonkeyPatch) -> None:
    words = _texts(monkeypatch)
    assert confusion_figure([[3, 1], [0, 0]], ["a", "b"], "t").startswith(PNG)
    assert {"0.75", "0.25", "3", "1"} <= set(words)
    assert words.count("n/a") == 2


def test_training_of_one_epoch_is_a_point() -> None:
    assert training_figure({0: {"loss": [1.0], "train_share_correct": [0.5]}}).startswith(PNG)


def test_gallery_without_attention_and_with_a_flat_one() -> None:
    pixels = np.zeros((16, 16), np.uint8)
    cases = [Case("a", pixels), Case("b\nc", pixels, np.ones((2, 2), np.float32)), Case("d", pixels)]
    assert gallery_figure(cases).startswith(PNG)
    assert gallery_figure(cases[:1]).startswith(PNG)


def test_a_name_without_glyphs_is_no_crash() -> None:
    assert confusion_figure([[1, 0], [0, 1]], ["肺炎", "\u202ea"], "t").startswith(PNG)


def test_the_same_figure_gives_the_same_bytes_and_no_pyplot() -> None:
    assert confusion_figure([[1]], ["a"], "t") == confusion_figure([[1]], ["a"], "t")
    assert "matplotlib.pyplot" not in sys.modules
