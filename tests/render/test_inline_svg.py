"""Charts inside an HTML page: what is kept of their SVG, and a dark counterpart for each of their colours."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from magsd_cli.render.charts import COLOURS, GREY, coverage_figure, reliability_figure
from magsd_cli.render.fig6_roc import Curve, roc_figure
from magsd_cli.render.fig8_confusion import confusion_figure
from magsd_cli.render.html import STYLE
from magsd_cli.render.inline_svg import inline_svg

SHARES = np.linspace(0, 1, 5)
CHARTS = {
    "roc": roc_figure([Curve("a", SHARES, SHARES, 0.5), Curve("b", SHARES, SHARES**0.5, 0.7)], "ROC"),
    "confusion": confusion_figure([[3, 1], [0, 4]], ["A & <B>", "C"], "Matrix"),
    "coverage": coverage_figure(SHARES, SHARES, 0.2),
    "calibration": reliability_figure({"x": (SHARES, SHARES, np.ones(5, np.int64))}),
}
#: In the dark the cells of a confusion matrix keep their colour: only their opacity says how much.
SAME_IN_THE_DARK = {"0068a8"}


def test_each_chart_is_one_element_with_its_words_for_those_who_cannot_see_it() -> None:
    for name, drawn in CHARTS.items():
        element = inline_svg(drawn.svg, name, 'says "this" & <that>')
        root = ElementTree.fromstring(element)
        assert root.attrib["aria-label"] == 'says "this" & <that>'
        assert root.attrib["role"] == "img"
        assert not re.search(r"<(style|script|metadata|!--)|\bon\w+=|https?:", element)


def test_two_charts_of_a_page_share_no_id() -> None:
    pages = [inline_svg(drawn.svg, name, "") for name, drawn in CHARTS.items()]
    ids = [name for page in pages for name in re.findall(r' id="([^"]+)"', page)]
    assert ids
    assert len(ids) == len(set(ids))
    for page in pages:
        own = set(re.findall(r' id="([^"]+)"', page))
        wanted = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
        assert wanted <= own


def test_each_colour_of_a_chart_has_one_for_the_dark() -> None:
    known = set(re.findall(r"--c-([0-9a-f]{6}):", STYLE.read_text())) | SAME_IN_THE_DARK
    page = "".join(inline_svg(drawn.svg, name, "") for name, drawn in CHARTS.items())
    used = set(re.findall(r"var\(--c-([0-9a-f]{6}),", page))
    assert {"000000", "ffffff"} <= used
    assert used <= known
    assert {colour[1:].lower() for colour in (*COLOURS, GREY)} <= known


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_lines_stand_out_on_paper_and_in_the_dark() -> None:
    """A contrast of 3 for graphics (WCAG 2.1, 1.4.11)."""
    dark = dict(re.findall(r"--c-([0-9a-f]{6}): #([0-9a-f]{6})", STYLE.read_text()))
    for colour in (*COLOURS, GREY):
        name = colour[1:].lower()
        # Okabe and Ito's reddish purple has 2.9 on white; lines differ in style as well.
        assert _contrast(name, "ffffff") >= (2.8 if name == "cc79a7" else 3)
        assert _contrast(dark[name], "161616") >= 3
