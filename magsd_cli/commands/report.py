"""`magsd report` and `magsd demo`: what a run is worth, on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import existing_file, share
from magsd_cli.console import noted


def report(
    context: typer.Context,
    runs_given: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN", help="Runs, or suites (default: the newest run); several are compared."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder, a file.md or a file.html for the report (default: the run's own)."),
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(help="External images: predict's table, or a CSV of label, p_<class>, patient_id."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            callback=existing_file, help="CSV of the labels of --external: path, label, patient_id."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            callback=share, help="How common the disease is where the model is used, for PPV and NPV."
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="ROW", help="Compare every row with this one: title, recipe or run (default: the best)."
        ),
    ] = None,
) -> int:
    """Write the report of a run, or compare several. Prints its path."""
    with noted("report: loading libraries"):
        from magsd_cli.report.report import report as stage

    print(
        stage(
            runs_given=runs_given or [],
            runs=context.obj,
            out=out,
            external=external,
            truth=truth,
            prevalence=prevalence,
            reference=reference,
        )
    )
    return 0
