"""The model card: what a run's networks are and are not for, with the items of TRIPOD+AI and CLAIM.

TRIPOD+AI: Collins et al., BMJ 385:e078378 (2024). CLAIM: Tejani et al., Radiol. Artif. Intell. 6(4):e240300
(2024). Items are named in words of our own; docs/trust.md says which numbers
were checked.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from magsd_cli.reporting.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Bullets,
    Caution,
    Document,
    Heading,
    Paragraph,
    Table,
    text_table,
)

ITEMS = Path(__file__).with_name("checklists.csv")
NOT_REPORTED = "not reported"
GUIDELINES = {
    "TRIPOD+AI": "TRIPOD+AI (Collins et al., BMJ 2024;385:e078378)",
    "CLAIM 2024": "CLAIM, 2024 update (Tejani et al., Radiol. Artif. Intell. 2024;6(4):e240300)",
}
#: What the card says before the checklists: heading, and the facts under it.
SECTIONS = {
    "Model": ("title", "model", "weights", "output", "computed"),
    "Use": ("use", "poor_input"),
    "Data": ("sources", "flow", "people", "outcome", "partition"),
    "Performance": ("performance", "by_source", "calibration", "external"),
}


def model_card(name: str, facts: Mapping[str, str], cautions: Sequence[Caution]) -> Document:
    """The card of the run called `name`.

    facts: sentences by the keys of the column `fact` in checklists.csv; one that is absent or empty is not
    reported. cautions: what the report warns of.
    """
    warned = tuple(caution.text for caution in cautions)
    known = {**facts, "limitations": facts.get("limitations", "") or " ".join(warned)}
    blocks: list[Block] = [Caution(f"{NOT_FOR_DIAGNOSIS} A research tool; no medical device.")]
    for heading, keys in SECTIONS.items():
        blocks += [Heading(heading), Bullets(tuple(known[key] for key in keys if known.get(key)))]
    none = Paragraph("The report found none by its own rules; what the images are like is not known to it.")
    blocks += [Heading("Limitations"), Bullets(warned) if warned else none]
    blocks.append(Heading("Reporting guidelines"))
    blocks.append(
        Paragraph(
            "Filled from what the run left. Not reported: magsd does not know it; the authors of a study "
            "must say it. The items are in our own words; read them in the guideline."
        )
    )
    for guideline, title in GUIDELINES.items():
        blocks += [Heading(title, 3), checklist(guideline, known)]
    return Document(f"Model card: {name}", tuple(blocks))


def checklist(guideline: str, facts: Mapping[str, str]) -> Table:
    """The items of `guideline` (a key of `GUIDELINES`) with what is known of each."""
    with ITEMS.open(encoding="utf-8", newline="") as file:
        items = [row for row in csv.DictReader(file) if row["guideline"] == guideline]
    rows = [(row["item"], row["words"], facts.get(row["fact"], "") or NOT_REPORTED) for row in items]
    filled = sum(row[2] != NOT_REPORTED for row in rows)
    return text_table(f"{filled} of {len(rows)} items are filled.", ("item", "asks for", "here"), rows)
