"""One bar for a whole run: its steps are those of all networks, also after a stop or a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_cache import write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.console import Bar
from magsd_cli.recipe import load_recipe
from magsd_cli.training.plan import Plan, RunOptions, plan
from magsd_cli.training.run_bar import RunBar, steps_of


class Drawn:
    """A bar that remembers."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done, self.shown = title, total, 0, True

    def update(self, advance: int = 1, text: str | None = None) -> None:
        self.done += advance

    def shorten(self, steps: int) -> None:
        self.total -= steps

    def remove(self) -> None:
        self.shown = False


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    cache = write_tiny_cache(tmp_path / "cache", count=12)
    options = RunOptions(tmp_path, cache, load_recipe("base", TRAINING_KEYS), folds=2, device="cpu")
    return plan("cv", options, 1)


def test_the_run_counts_what_its_networks_do(planned: Plan) -> None:
    bars: list[Drawn] = []

    def add(title: str, total: int | None, unit: str = "steps", speaks: bool = True) -> Bar:
        assert speaks == (not bars)  # the run alone speaks where no bars are drawn
        bars.append(Drawn(title, total or 0))
        return bars[-1]

    each = steps_of(planned, 0)
    assert each == 2  # two epochs of one step, see test_dry_run
    view = RunBar(add, planned, [0, 1])
    run = bars[0]
    assert (run.title, run.total) == ("2 networks", 2 * each)
    with view.open(0)("fold 0", each) as bar:
        bar.update(1, "loss 1")
        assert (bars[1].title, bars[1].done, run.done) == ("fold 0", 1, 1)
        bar.update()
    assert not bars[1].shown
    with view.open(1)("fold 1", 1) as bar:  # an earlier start did the first of its steps
        assert run.total == 3
        bar.update()
    assert run.done == run.total


def test_a_network_that_starts_again_has_more_to_do(planned: Plan) -> None:
    bars: list[Drawn] = []

    def add(title: str, total: int | None, unit: str = "steps", speaks: bool = True) -> Bar:
        bars.append(Drawn(title, total or 0))
        return bars[-1]

    view = RunBar(add, planned, [0, 1])
    view.add(0, "fold 0", 2).update()  # and its process dies before it saved
    view.add(0, "fold 0", 2)
    assert (bars[0].done, bars[0].total) == (1, 5)


def test_one_network_has_one_bar(planned: Plan) -> None:
    bars: list[Drawn] = []

    def add(title: str, total: int | None, unit: str = "steps", speaks: bool = True) -> Bar:
        bars.append(Drawn(title, total or 0))
        return bars[-1]

    with RunBar(add, planned, [1]).open(1)("fold 1", 2) as bar:
        bar.update(2)
    assert [(one.title, one.done, one.shown) for one in bars] == [("1 network", 2, True)]
