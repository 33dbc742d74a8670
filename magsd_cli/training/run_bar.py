"""One bar for a whole run, with the time left of the run, and below it one for each network at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from magsd_cli.console import AddBar, Bar, OpenBar, counted, progress_bars
from magsd_cli.training.plan import Plan
from magsd_cli.training.schedule import epoch_batches


class RunBar:
    """The view of the networks `left` of a run. It counts optimiser steps.

    Where no bars are drawn, the bar of the run says a line every half minute; those of the networks are
    silent.
    """

    def __init__(self, add: AddBar, plan: Plan, left: Sequence[int], ranks: int = 1) -> None:
        self._add = add
        self.remaining = {fold: steps_of(plan, fold, ranks) for fold in left}
        self._alone = len(left) == 1
        words = "training" if plan.run.kind == "train" else counted(len(left), "network")
        self.run = add(words, sum(self.remaining.values()), "steps")

    def add(self, fold: int, title: str, left: int) -> Bar:
        """The bar of the network of `fold`, which has `left` steps to do: fewer than a whole training where
        an earlier start did some, more than remained where its process died and was started again.
        """
        self.run.shorten(self.remaining.get(fold, 0) - left)
        self.remaining[fold] = left
        return _NetworkBar(self, fold, None if self._alone else self._add(title, left, "steps", False))

    def open(self, fold: int) -> OpenBar:
        """Return a function that opens the bar of `fold`, for as long as its training lasts."""

        @contextmanager
        def opened(title: str, left: int | None) -> Iterator[Bar]:
            bar = self.add(fold, title, left or 0)
            try:
                yield bar
            finally:
                bar.remove()

        return opened


class _NetworkBar:
    """Counts for a network and for its run. A network that is the only one has no bar of its own."""

    def __init__(self, view: RunBar, fold: int, own: Bar | None) -> None:
        self._view, self._fold, self._own = view, fold, own

    def update(self, advance: int = 1, text: str | None = None) -> None:
        self._view.remaining[self._fold] -= advance
        if self._own is None:
            self._view.run.update(advance, text)
            return
        self._own.update(advance, text)
        self._view.run.update(advance)

    def shorten(self, steps: int) -> None:
        self.update(0)
        self._view.run.shorten(steps)

    def remove(self) -> None:
        if self._own is not None:
            self._own.remove()


@contextmanager
def run_bar(plan: Plan, left: Sequence[int], ranks: int = 1) -> Iterator[RunBar]:
    """The view of a run that is trained in this process, `left` one after another."""
    with progress_bars() as add:
        yield RunBar(add, plan, left, ranks)


def steps_of(plan: Plan, fold: int, ranks: int = 1) -> int:
    """The optimiser steps of the whole training of `fold`; 0 for a network that takes none."""
    settings, folds = plan.run.recipe.train, plan.folds
    if not settings.takes_steps:
        return 0
    labels = plan.cache.labels[folds.loc[folds["fold"] != fold, "index"].to_numpy()]
    return settings.epochs * len(epoch_batches(labels, settings, plan.run.recipe.seed, fold, 0, ranks))
