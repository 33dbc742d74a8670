"""Where the network looked: chosen cases with their attention, and the gallery."""

from __future__ import annotations

from collections.abc import Sequence

from magsd_cli.evaluation.attention import Chosen
from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.render.charts import Case, gallery_figure, shorten
from magsd_cli.render.document import Block, Figure, Gallery, GalleryCase, Heading, Paragraph, not_available
from magsd_cli.render.overlays import thumbnail

TITLE = "Where the network looked"
CASES_RULE = (
    "Chosen by rule, not by eye: of each class the image that was called right with the highest probability "
    "and the one that was called wrong with the highest probability. Each is shown with the attention of the "
    "network that was not trained on it (the mean of its maps), scaled to its own maximum. Attention shows "
    "where the network looked, not where disease is."
)

GALLERY_RULE = (
    "Images that were called wrong stand first, then those called right, each from the surest to the least "
    "sure. Left: the image as prepared for the network. Right: the same with the attention of the network "
    "that was not trained on it, scaled to its own maximum, which shows where the network looked and not "
    "where disease is."
)


def attention_section(facts: Facts) -> list[Block]:
    """A few cases with the attention of the network that never saw them, and a gallery of many."""
    found, shown = facts.predictions, facts.attention
    if found is None or shown is None:
        missing = "predictions" if found is None else "cache"
        return [Heading(TITLE), not_available(facts.results.missing[missing])]
    pixels, maps = shown.pixels, shown.maps
    cases = [Case(case_title(case), pixels[case.row], maps.get(case.row)) for case in shown.chosen]
    gallery = Gallery(
        found.classes,
        tuple(_gallery_case(found, row, thumbnail(pixels[row], maps.get(row))) for row in shown.gallery),
        len(found),
    )
    return [*cases_section(cases, shown.chosen, shown.without_attention), *gallery_section(gallery)]


def case_title(case: Chosen) -> str:
    """Two lines: true and predicted class with its probability; the image's id."""
    words = "right" if case.label == case.predicted else "wrong"
    title = f"{shorten(case.label)}, called {shorten(case.predicted)} ({100 * case.confidence:.1f}%)"
    return f"{title}: {words}\n{shorten(case.image_id, 44)}"


def _gallery_case(found: Predictions, row: int, jpeg: bytes) -> GalleryCase:
    return GalleryCase(
        found.image_ids[row], int(found.truth[row]), int(found.called[row]),
        float(found.confidence[row]), int(found.tested_in()[row]), jpeg,
    )  # fmt: skip


def cases_section(
    cases: Sequence[Case], chosen: Sequence[Chosen], without_attention: str = ""
) -> list[Block]:
    """The gallery of chosen cases; `without_attention` says why there is none, where there is none."""
    words = "; ".join(case_title(case).replace("\n", ", ") for case in chosen)
    blocks: list[Block] = [Heading("Where the network looked"), Paragraph(CASES_RULE)]
    if without_attention:
        blocks.append(Paragraph(f"Attention is not available: {without_attention}."))
    caption = "Left: the image as prepared for the network. Right: the same with the attention over it."
    blocks.append(Figure("attention", gallery_figure(cases), f"Cases with attention: {words}.", caption))
    return blocks


def gallery_section(gallery: Gallery) -> list[Block]:
    """The section of the gallery."""
    return [Heading("Case gallery"), Paragraph(GALLERY_RULE), gallery]
