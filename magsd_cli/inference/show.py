"""A prediction table for people: what `magsd predict` prints on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from magsd_cli.artifacts.tables import probability_column
from magsd_cli.console import printable

Row = Mapping[str, Any]


def show_predictions(rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Print the rows of a prediction table: file, result, probabilities in percent, what to know about it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("result", no_wrap=True)
    for name in classes:
        table.add_column(Text(printable(name)), justify="right", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for row in rows:
        table.add_row(Text(printable(row["path"])), *_cells(row, classes))
    console = Console()
    console.print(table)
    console.print("Percent. Not for clinical diagnosis. A table for programs: --out FILE", style="dim")


def _cells(row: Row, classes: Sequence[str]) -> list[Text]:
    refer = [f"refer: {row['refer_reason']}"] if row.get("refer") else []
    decision = [row["decision"]] if row.get("decision") else []
    notes = printable("; ".join([*refer, *decision, *row["warnings"]]))
    if row["status"] == "error":
        failed = printable(f"{row['error_code']}: {row['error']}")
        return [Text("error", style="red"), *(Text("-") for _ in classes), Text(failed, style="red")]
    values = [row[probability_column(name)] for name in classes]
    shown = [
        Text(f"{100 * value:.1f}", style="bold" if name == row["predicted"] else "")
        for name, value in zip(classes, values, strict=True)
    ]
    return [Text(printable(row["predicted"]), style="bold"), *shown, Text(notes, style="yellow")]
