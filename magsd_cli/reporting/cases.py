"""Which images a report shows, chosen by a rule that nobody can tune, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from magsd_cli.reporting.document import Block, Figure, Heading, Paragraph
from magsd_cli.reporting.figures import Case, gallery_figure, shorten

if TYPE_CHECKING:
    import pandas as pd

RULE = (
    "Chosen by rule, not by eye: of each class the image that was called right with the highest probability "
    "and the one that was called wrong with the highest probability. Each is shown with the attention of the "
    "network that was not trained on it (the mean of its maps), scaled to its own maximum. Attention shows "
    "where the network looked, not where disease is."
)
MOST_CLASSES = 6


@dataclass(frozen=True)
class Chosen:
    """An image to show: its row in the predictions, and its words."""

    row: int
    image_id: str
    fold: int
    right: bool
    title: str


def choose_cases(
    predictions: pd.DataFrame, confidence: Sequence[float], classes: Sequence[str]
) -> list[Chosen]:
    """Of each class (of the first `MOST_CLASSES`) the surest right call and the surest wrong one.

    confidence: the probability of the predicted class, a row each. Ties go to the first image id.
    """
    table = predictions[["image_id", "label", "predicted", "fold"]].assign(
        confidence=list(confidence), row=range(len(predictions))
    )
    table = table.sort_values(["confidence", "image_id"], ascending=[False, True], kind="stable")
    chosen = []
    for name in list(classes)[:MOST_CLASSES]:
        own = table[table["label"] == name]
        for right in (True, False):
            kind = own[(own["predicted"] == name) == right]
            if len(kind):
                chosen.append(_chosen(kind.iloc[0], right))
    return chosen


def _chosen(row: pd.Series, right: bool) -> Chosen:
    words = "right" if right else "wrong"
    title = f"{shorten(row['label'])}, called {shorten(row['predicted'])} ({100 * row['confidence']:.1f} %)"
    return Chosen(
        int(row["row"]), str(row["image_id"]), int(row["fold"]), right,
        f"{title}: {words}\n{shorten(str(row['image_id']), 44)}",
    )  # fmt: skip


def cases_section(
    cases: Sequence[Case], chosen: Sequence[Chosen], without_attention: str = ""
) -> list[Block]:
    """The gallery of chosen cases; `without_attention` says why there is none, where there is none."""
    words = "; ".join(case.title.replace("\n", ", ") for case in chosen)
    blocks: list[Block] = [Heading("Where the network looked"), Paragraph(RULE)]
    if without_attention:
        blocks.append(Paragraph(f"Attention is not available: {without_attention}."))
    caption = "Left: the image as prepared for the network. Right: the same with the attention over it."
    blocks.append(Figure("attention", gallery_figure(cases), f"Cases with attention: {words}.", caption))
    return blocks
