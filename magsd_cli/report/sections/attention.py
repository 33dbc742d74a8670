"""The attention of chosen cases, and the gallery."""

from __future__ import annotations

from collections.abc import Sequence

from magsd_cli.evaluation.attention import Chosen
from magsd_cli.evaluation.facts import Facts
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.render.charts import Case, gallery_figure, shorten
from magsd_cli.render.document import Block, Figure, Gallery, GalleryCase, Heading, Paragraph, not_available
from magsd_cli.render.overlays import thumbnail

TITLE = "Where the network looked"
A_PAGE = 6  # cases of one figure: three rows, which a printed page holds
CASES_RULE = (
    "Chosen by rule, not by eye: of each class the image that was called right with the highest probability "
    "and the one that was called wrong with the highest probability. Each is shown with the attention of the "
    "network that was not trained on it (the mean of its maps), scaled to its own maximum. Attention shows "
    "where the network looked, not where disease is. More cases stand in the gallery at the end."
)

GALLERY_RULE = (
    "Images that were called wrong stand first, then those called right, each from the surest to the least "
    "sure. Left: the image as prepared for the network. Right: the same with the attention of the network "
    "that was not trained on it, scaled to its own maximum, which shows where the network looked and not "
    "where disease is."
)


def attention_section(facts: Facts) -> list[Block]:
    """A few cases with the attention of the network that never saw them."""
    found, shown = facts.predictions, facts.attention
    if found is None or shown is None:
        missing = "predictions" if found is None else "cache"
        return [Heading(TITLE), not_available(facts.results.missing[missing])]
    cases = [
        Case(case_title(case), shown.pixels[case.row], shown.maps.get(case.row)) for case in shown.chosen
    ]
    return cases_section(cases, shown.chosen, shown.without_attention)


def gallery_section(facts: Facts) -> list[Block]:
    """A gallery of many cases; nothing where there are none, which the section before it says."""
    found, shown = facts.predictions, facts.attention
    if found is None or shown is None:
        return []
    pixels, maps = shown.pixels, shown.maps
    gallery = Gallery(
        found.classes,
        tuple(_gallery_case(found, row, thumbnail(pixels[row], maps.get(row))) for row in shown.gallery),
        len(found),
        bool(maps),
    )
    return [Heading("Case gallery"), Paragraph(GALLERY_RULE), gallery]


def case_title(case: Chosen) -> str:
    """Two lines: true and predicted class with its probability; the image's id."""
    words = "right" if case.label == case.predicted else "wrong"
    title = f"{shorten(case.label)}, called {shorten(case.predicted)} ({100 * case.confidence:.1f}%)"
    return f"{title}: {words}\n{_end_of(case.image_id)}"


def _end_of(image_id: str, longest: int = 30) -> str:
    """The end of a name, which tells images apart, no wider than the picture below it."""
    return image_id if len(image_id) <= longest else "…" + image_id[1 - longest :]


def _gallery_case(found: Predictions, row: int, jpeg: bytes) -> GalleryCase:
    return GalleryCase(
        found.image_ids[row], int(found.truth[row]), int(found.called[row]),
        float(found.confidence[row]), int(found.tested_in()[row]), jpeg,
    )  # fmt: skip


def cases_section(
    cases: Sequence[Case], chosen: Sequence[Chosen], without_attention: str = ""
) -> list[Block]:
    """The chosen cases; `without_attention` says why there is no attention, where there is none."""
    blocks: list[Block] = [Heading(TITLE), Paragraph(CASES_RULE)]
    if without_attention:
        blocks.append(Paragraph(f"Attention is not available: {without_attention}."))
    caption = "Left: the image as prepared for the network. Right: the same with the attention over it."
    for number, start in enumerate(range(0, len(cases), A_PAGE)):
        some = cases[start : start + A_PAGE]
        words = "; ".join(
            f"{case_title(choice).replace(chr(10), ', ')}{_place(case)}"
            for case, choice in zip(some, chosen[start : start + A_PAGE], strict=True)
        )
        name = "attention" if number == 0 else f"attention-{number + 1}"
        blocks.append(Figure(name, gallery_figure(some), f"Chest X-rays. {words}.", caption))
    return blocks


def _place(case: Case) -> str:
    """Say where a case's attention is strongest, for those who cannot see it; "" without attention."""
    if case.attention is None:
        return ", without attention"
    height, width = case.attention.shape
    row, column = divmod(int(case.attention.argmax()), width)
    across = ("left", "middle", "right")[3 * column // width]
    down = ("top", "middle", "bottom")[3 * row // height]
    place = across if down == "middle" else down if across == "middle" else f"{down} {across}"
    return f", attention strongest in the {place} of the picture"
