"""The options of `magsd pacs screen`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from magsd_cli.errors import UsageError
from magsd_cli.hospital.pacs.http_session import HttpLimits
from magsd_cli.hospital.pacs.tls import check_pem_files
from magsd_cli.localization.choice import DEFAULT_THRESHOLD
from magsd_cli.settings import Map


@dataclass(frozen=True)
class ScreenOptions:
    """The options of a screening: which PACS is asked for what, and where the rows go."""

    url: str
    out: Path
    model: Path | None
    runs: Path
    modalities: Sequence[str] = ("CR", "DX")
    since: timedelta = timedelta(hours=24)
    store: bool = False  #: send the answers back
    workers: int = 1
    limits: HttpLimits = field(default_factory=HttpLimits)
    ca: Path | None = None  #: PEM file of the authorities that may vouch for the PACS; None: the usual ones
    certificate: Path | None = None  #: PEM file of ours
    certificate_key: Path | None = None
    key_file: Path | None = None  #: holds the site key
    threshold: float = DEFAULT_THRESHOLD  #: of the segmentations, as localize's
    map: Map = Map.attention  #: what they mark


def check_screen_options(options: ScreenOptions) -> None:
    """Raise `UsageError` for options that cannot be, or say nothing."""
    if options.out.suffix.lower() != ".parquet" or options.out.is_dir():
        raise UsageError(
            f"--out {options.out}: screening keeps its records in this table; name a .parquet file"
        )
    secure = options.url.strip().lower().startswith("https:")
    for word, path in {
        "--ca": options.ca,
        "--client-cert": options.certificate,
        "--client-key": options.certificate_key,
    }.items():
        if path is not None and not path.is_file():
            raise UsageError(f"{word} {path}: no such file; name a PEM file")
        if path is not None and not secure:
            raise UsageError(f"{word}: has no effect over plain http; write the address with https")
    check_pem_files(options.ca, options.certificate, options.certificate_key)
    if options.certificate_key is not None and options.certificate is None:
        raise UsageError("--client-key: needs a certificate too; name it with --client-cert")
    if options.map == Map.chosen:
        raise UsageError(
            "--map chosen: needs films with known truth, as localize has; write attention or class"
        )
    if not options.modalities:
        raise UsageError("--modality: is empty; write it as CR,DX")
