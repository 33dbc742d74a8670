"""How well attention finds the lesions: IoU and pointing game against truth, next to chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from magsd_cli.metrics.localization import summarise
from magsd_cli.reporting.document import Block, Figure, Paragraph, Table, percent

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {
    "iou_mask": ("IoU with the true mask", "control_iou_mask"),
    "iou_box": ("IoU with the true box", "control_iou_box"),
    "pointing_hit": ("strongest point inside the lesion", "control_pointing"),
}
CAPTION = (
    "Out-of-fold attention against true lesions (eq. 12), in percent; intervals by bootstrap over images. "
    "Chance: the attention of other images laid on the same truth. A gain whose interval is above 0 is "
    "better than chance."
)


def localization_table(table: pd.DataFrame) -> Table | None:
    """The figures of a localization table, all classes and each; only images unseen in training count.

    table: columns of the localization table, and `label`. None when no unseen image has a truth.
    """
    rows = []
    unseen = table[(table["status"] == "ok") & (table["unseen"] == True)]  # noqa: E712 (nullable column)
    for measure, (words, control) in MEASURES.items():
        known = unseen[unseen[measure].notna()]
        groups = [("all", known), *((str(name), part) for name, part in known.groupby("label"))]
        for name, part in groups if len(groups) > 2 else groups[:1]:
            if len(part):
                rows.append(_row(f"{words}, {name}", part[measure], part[control], measure != "pointing_hit"))
    head = ("measure", "n", "mean [95 % interval]", "over 25", "over 50", "chance", "gain [95 % interval]")
    return Table(CAPTION, head, tuple(rows)) if rows else None


def _row(name: str, found: pd.Series[Any], control: pd.Series[Any], shares: bool) -> tuple[str, ...]:
    chance = [None if value is None or np.isnan(value) else float(value) for value in control]
    figures = summarise([float(value) for value in found], chance)
    gain = figures.get("over_control")
    return (
        name,
        str(figures["n"]),
        f"{percent(figures['mean'], digits=1)} {_interval(figures['interval95'])}",
        percent(figures["over_0.25"], digits=1) if shares else "",
        percent(figures["over_0.5"], digits=1) if shares else "",
        percent(figures.get("control"), digits=1),
        "n/a" if gain is None else f"{100 * gain:+.1f} {_interval(figures['over_control_interval95'])}",
    )


def _interval(bounds: Sequence[float] | None) -> str:
    return "[n/a]" if bounds is None else f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def localization_blocks(
    name: str, table: pd.DataFrame, overlays: Sequence[tuple[str, bytes]], number: int
) -> list[Block]:
    """What `magsd localize` found in its folder `name`: the table and some of its overlays (words, PNG)."""
    ok = table[table["status"] == "ok"]
    seen = int((ok["unseen"] != True).sum())  # noqa: E712 (nullable column)
    words = f"From the localization called {name}: {len(ok)} images."
    if seen:
        words += f" {seen} of them may have been trained on, and do not count below."
    figures = localization_table(table)
    blocks: list[Block] = [Paragraph(words)]
    blocks.append(figures or Paragraph("n/a: no image that is unseen in training has a known true lesion."))
    for i, (caption, png) in enumerate(overlays):
        blocks.append(Figure(f"localization-{number + 1}-{i + 1}", png, f"Overlay of {caption}", caption))
    return blocks
