"""`magsd pacs screen`: new studies of a PACS, unattended."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from magsd_cli.commands.options import ModelOption, existing_file, share
from magsd_cli.errors import UsageError
from magsd_cli.settings import Map

pacs_app = typer.Typer(no_args_is_help=True, help="Screen the studies of a PACS over DICOMweb (extra dicom).")
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@pacs_app.callback()
def _pacs() -> None:
    """Screen the studies of a PACS over DICOMweb (extra dicom)."""


@pacs_app.command()
def screen(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The DICOMweb root: https://HOST:PORT/dicom-web")],
    out: Annotated[Path, typer.Option("--out", help="Table to add rows to; it also records what was done.")],
    modality: Annotated[str, typer.Option(help="Modalities to ask for.")] = "CR,DX",
    since: Annotated[
        str, typer.Option(help="Oldest study to look at: 90m, 24h, 7d. Passes may overlap.")
    ] = "24h",
    model: ModelOption = None,
    store: Annotated[bool, typer.Option("--store", help="Send the results to the PACS (SR, SEG).")] = False,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca", callback=existing_file, help="PEM file of the CA that signed the PACS's certificate."
        ),
    ] = None,
    client_cert: Annotated[
        Path | None, typer.Option(callback=existing_file, help="PEM file of this client's certificate.")
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option(callback=existing_file, help="PEM file of its private key, if separate.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(callback=share, help="Of the segmentations: share of the map's range (default: 0.5)."),
    ] = None,
    map_: Annotated[
        Map, typer.Option("--map", help="What they mark: the attention, or the evidence for the class.")
    ] = Map.attention,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    connect_timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for a connection, in seconds.")
    ] = 10,
    read_timeout: Annotated[float, typer.Option(min=0.1, help="Longest wait for data, in seconds.")] = 60,
    total_timeout: Annotated[
        float, typer.Option(min=0.1, help="Longest time for a request, in seconds.")
    ] = 300,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest response accepted, in MiB.")] = 128,
    retries: Annotated[int, typer.Option(min=0, help="Retries of a failed request, with backoff.")] = 3,
    site_key: Annotated[
        Path | None,
        typer.Option(
            callback=existing_file, help="File with the secret key for hashing ids (default: as for prepare)."
        ),
    ] = None,
) -> int:
    """Score new chest radiographs of a PACS into a table; for cron.

    Credentials: MAGSD_PACS_USER and MAGSD_PACS_PASSWORD, MAGSD_PACS_TOKEN, or a netrc file.
    """
    from magsd_cli.hospital.pacs.http_session import HttpLimits
    from magsd_cli.hospital.pacs.options import ScreenOptions
    from magsd_cli.hospital.pacs.screening import screen as run
    from magsd_cli.localization.choice import DEFAULT_THRESHOLD

    limits = HttpLimits(connect_timeout, read_timeout, total_timeout, round(max_mb * 2**20), retries)
    if not store and (threshold is not None or map_ != Map.attention):
        word = "--map" if threshold is None else "--threshold"
        raise UsageError(f"{word}: is of the segmentations that are sent; add --store")
    options = ScreenOptions(
        url=url,
        out=out,
        model=model,
        runs=context.obj,
        modalities=tuple(word.strip().upper() for word in modality.split(",") if word.strip()),
        since=_duration(since),
        store=store,
        workers=workers,
        limits=limits,
        ca=ca,
        certificate=client_cert,
        certificate_key=client_key,
        key_file=site_key,
        threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
        map=map_,
    )
    return run(options)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,5})([mhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--since {text}: write it as 90m, 24h, 7d or 2w")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
