"""The whole report of a small run in a real browser: two widths, light and dark, contrast, and on paper."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from browser import axe, drive, to_pdf
from tiny_cache import CLASSES, write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.evaluation.calibrate import CalibrationTargets, calibrate
from magsd_cli.recipe import load_recipe
from magsd_cli.report.report import report
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv

pytestmark = [pytest.mark.slow, pytest.mark.sample, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    cache = write_tiny_cache(folder / "cache", count=18)
    recipe = load_recipe("base", [*TRAINING_KEYS, "train.epochs=1"])
    run = cv(RunOptions(cache=cache, recipe=recipe, runs=folder, name="run", folds=2, device="cpu"))
    calibrate(run=run, runs=folder, targets=CalibrationTargets(CLASSES[0], "sensitivity", 0.8, 0.9))
    return report(runs_given=[run], runs=folder, out=folder / "page.html", prevalence=0.05).read_text()


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_hangs_over_and_nothing_is_asked_for(page: str, tmp_path: Path, width: int) -> None:
    found = drive(
        page,
        """const root = page.documentElement;
        const seen = (e) => e.offsetParent !== null && !e.closest(".scroll, .gallery, .picture, pre, .skip");
        return {
          width: view.innerWidth, overflow: root.scrollWidth - root.clientWidth,
          requests: view.performance.getEntriesByType("resource").map((e) => e.name)
            .filter((name) => !name.startsWith("data:")),
          broken: [...page.images].filter((image) => !image.naturalWidth).length,
          outside: [...page.querySelectorAll("main *")]
            .filter((e) => seen(e) && e.getBoundingClientRect().right > view.innerWidth + 1)
            .map((e) => e.outerHTML.slice(0, 80)),
          parted: [...page.querySelectorAll("td")].filter((e) => e.textContent.includes("\\u00a0to\\u00a0"))
            .filter((e) => e.getClientRects().length !== 1).length,
        };""",
        tmp_path,
        width,
    )
    expected = {"width": width, "overflow": 0, "requests": [], "broken": 0, "outside": [], "parted": 0}
    assert found == expected


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page: str, tmp_path: Path, dark: bool) -> None:
    found = drive(
        page,
        f"""{axe()}
        // What is scrolled away is not judged.
        for (const box of page.querySelectorAll(".gallery, .scroll")) {{
          box.style.maxHeight = "none"; box.style.overflow = "visible";
        }}
        // Lines are cut at a chart's axes, but axe takes the boxes of whole lines to cover the text around.
        for (const line of page.querySelectorAll(".picture svg > *")) line.remove();
        const found = await view.axe.run(page, {{
          runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
        }});
        return {{
          dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
          looked: found.passes.some((rule) => rule.id === "color-contrast"),
          unsure: found.incomplete.map((rule) => [rule.id, rule.nodes[0].html.slice(0, 200)]),
          violations: found.violations.map((rule) => [rule.id, rule.nodes[0].html.slice(0, 200)]),
        }};""",
        tmp_path,
        2400,  # so that no table lies outside
        dark=dark,
    )
    assert found == {"dark": dark, "looked": True, "unsure": [], "violations": []}


def test_axe_sees_words_that_are_too_pale(page: str, tmp_path: Path) -> None:
    found = drive(
        page.replace("<h1>", '<h1 style="color:#ccc;background:#fff">'),
        f"""{axe()}
        const found = await view.axe.run(page.querySelector("h1"), {{runOnly: ["color-contrast"]}});
        return found.violations.map((rule) => rule.id);""",
        tmp_path,
    )
    assert found == ["color-contrast"]


def test_the_page_holds_the_card_and_is_small(page: str) -> None:
    assert 'href="#model-card">Model card</a>' in page
    words = ('id="model-card"', "TRIPOD+AI (Collins et al.", 'id="case-gallery"')
    places = [page.index(each) for each in words]
    assert places == sorted(places)
    assert len(page.encode()) < 5e6


def _words(pattern: str, page: str) -> list[str]:
    found = re.findall(pattern, page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", "", text)).split()) for text in found]


def test_on_paper_captions_stay_with_what_they_name(page: str, tmp_path: Path) -> None:
    sheets = to_pdf(page, tmp_path)
    assert len(sheets) > 3
    above = _words(r'<p class="caption">(.*?)</p>', page) + _words(r"<h[2-4][^>]*>(.*?)</h[2-4]>", page)
    below = _words(r"<figcaption>(.*?)</figcaption>", page)
    for lines in sheets[:-1]:
        (height, last), before = lines[-1], " ".join(line for _, line in lines[-2:])
        named = [text for text in above if text == last or text.endswith(before)]
        assert not (named and height > 0.8), named  # a picture below has no lines
    for lines in sheets[1:]:
        (height, first), after = lines[0], " ".join(line for _, line in lines[:2])
        named = [text for text in below if text == first or text.startswith(after)]
        assert not (named and height < 0.1), named  # a picture above has none either
    found = [{line for _, line in lines} for lines in sheets]
    gallery = [number for number, lines in enumerate(found) if "Case gallery" in lines]
    others = [number for number, lines in enumerate(found) if lines & {"Results", "Model card", "Data"}]
    assert gallery
    assert min(gallery) >= max(others)


def test_the_test_sees_a_parted_caption(page: str, tmp_path: Path) -> None:
    parted = page.replace("<figcaption>", '</figure><figure style="break-before: page"><figcaption>', 1)
    with pytest.raises(AssertionError):
        test_on_paper_captions_stay_with_what_they_name(parted, tmp_path)
