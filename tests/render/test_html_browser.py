"""The report's page in a real browser: the gallery's controls, a phone's width, no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import drive

from magsd_cli.render.document import (
    Caution,
    Commands,
    Document,
    Figure,
    Gallery,
    GalleryCase,
    Heading,
    Paragraph,
    Table,
)
from magsd_cli.render.fig8_confusion import confusion_figure
from magsd_cli.render.html import render_html
from magsd_cli.render.overlays import thumbnail

pytestmark = [pytest.mark.slow, pytest.mark.sample]

SHOWN = '[...page.querySelectorAll("#gallery-cases li")].filter((e) => e.offsetParent !== null).length'
SET = """const set = async (name, value) => {
  const control = page.getElementById("gallery-" + name);
  control.value = value;
  control.dispatchEvent(new view.Event("input", {bubbles: true}));
  await tick();
};"""


def _page() -> str:
    jpeg = thumbnail(np.full((64, 64), 90, np.uint8), np.eye(8, dtype=np.float32))
    long = "images/" + "a-very-long-name-without-any-space" * 4
    cases = [
        GalleryCase(f"{long}/{number:02d}.png", number % 3, number % 2, 0.40 + number / 20, 0, jpeg)
        for number in range(12)
    ]
    wide = Table("Wide", tuple(f"column {i}" for i in range(12)), (("x" * 40,) * 12,) * 2)
    return render_html(
        Document(
            "A title_with_a_very_long_word_" + "x" * 60,
            (
                Caution("Something."),
                Heading("Case gallery"),
                Gallery(("COVID-19", "Normal", "Pneumonia"), tuple(cases), 40),
                Paragraph("y" * 200),
                wide,
                Commands(("magsd report " + "z" * 200,)),
                Figure("f", confusion_figure([[3, 1], [0, 4]], ["a", "b"], "t"), "words"),
            ),
        )
    )


@pytest.fixture(scope="module")
def page() -> str:
    return _page()


def test_search_and_filters_narrow_the_cases(page: str, tmp_path: Path) -> None:
    found = drive(
        page,
        f"""{SET}
        const shown = () => {SHOWN};
        const seen = {{all: shown()}};
        await set("search", "07.PNG"); seen.search = shown();
        seen.count = page.getElementById("gallery-count").textContent;
        await set("search", ""); await set("truth", "2"); seen.truth = shown();
        await set("right", "no"); seen.wrong = shown();
        await set("truth", ""); await set("right", ""); await set("predicted", "1"); seen.predicted = shown();
        await set("predicted", ""); await set("least", "74.9"); seen.least = shown();
        page.querySelector("#gallery-filters button").click(); await tick(); seen.reset = shown();
        return seen;""",
        tmp_path,
    )
    assert found == {
        "all": 12,
        "search": 1,
        "count": "1 of 12 shown cases match.",
        "truth": 4,
        "wrong": 4,
        "predicted": 6,
        "least": 5,
        "reset": 12,
    }


@pytest.mark.parametrize("width", [375, 1200])
def test_no_horizontal_scroll_and_nothing_from_the_network(page: str, tmp_path: Path, width: int) -> None:
    found = drive(
        page,
        """const root = page.documentElement;
        return {
          width: view.innerWidth, overflow: root.scrollWidth - root.clientWidth,
          requests: view.performance.getEntriesByType("resource").map((e) => e.name)
            .filter((name) => !name.startsWith("data:")),
          broken: [...page.images].filter((image) => !image.naturalWidth).length,
          small: [...page.querySelectorAll("#gallery-filters input, #gallery-filters select")]
            .filter((e) => e.getBoundingClientRect().right > view.innerWidth).length,
        };""",
        tmp_path,
        width,
    )
    assert found == {"width": width, "overflow": 0, "requests": [], "broken": 0, "small": 0}


def test_every_control_is_reached_by_keyboard(page: str, tmp_path: Path) -> None:
    found = drive(
        page,
        """const all = "#gallery-filters input, #gallery-filters select, .gallery";
        const wanted = [...page.querySelectorAll(all)];
        return wanted.map((e) => { e.focus(); return page.activeElement === e && e.tabIndex >= 0; });""",
        tmp_path,
    )
    assert len(found) == 6
    assert all(found)


def test_the_test_sees_a_request_where_there_is_one(page: str, tmp_path: Path) -> None:
    policy = page[page.index("<meta http-equiv") : page.index("<title>")]
    leaking = page.replace(policy, "").replace("<h1>", '<img src="http://127.0.0.1:9/x.png" alt="x"><h1>')
    found = drive(
        leaking,
        'return view.performance.getEntriesByType("resource").map((e) => e.name);',
        tmp_path,
    )
    assert "http://127.0.0.1:9/x.png" in found
