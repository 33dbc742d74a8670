"""A file that is not there is said to be missing, with the contract's exit code, for every option."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from typer.main import get_command

from magsd_cli.cli import app, main

USAGE, NO_INPUT, ARTIFACT = 2, 4, 5
#: Parameters that are written to.
OUTPUTS = {"runs", "out", "dicom_sr", "dicom_seg", "dicom_sc", "target"}
MISSING = [  # command, parameter, the line, its exit code
    ("prepare", "sources", "prepare gone", NO_INPUT),
    ("prepare", "site_key", "prepare films --site-key gone", USAGE),
    (
        "prepare",
        "named",
        "prepare --recipe data/localization --source bimcv=gone --source chestxray8=gone",
        NO_INPUT,
    ),
    ("prepare", "recipe", "prepare --recipe gone.toml", USAGE),
    ("prepare", "lung_network", "prepare films --lungs crop --lung-network gone", ARTIFACT),
    ("lungs train", "images", "lungs train gone --masks films --out x.lungs", NO_INPUT),
    ("lungs train", "masks", "lungs train films --masks gone --out x.lungs", USAGE),
    ("lungs train", "tests", "lungs train films --masks films --test gone --out x.lungs", USAGE),
    ("lungs check", "images", "lungs check gone --out d", NO_INPUT),
    ("lungs check", "masks", "lungs check films --masks gone --out d", USAGE),
    ("lungs check", "network", "lungs check films --network gone --out d", ARTIFACT),
    ("lungs find", "images", "lungs find gone --out d", NO_INPUT),
    ("lungs find", "network", "lungs find films --network gone --out d", ARTIFACT),
    ("lungs card", "network", "lungs card gone", ARTIFACT),
    ("train", "cache", "train --cache gone.h5", ARTIFACT),
    ("train", "resume", "train --resume gone", ARTIFACT),
    ("train", "splits", "train --splits gone.csv", USAGE),
    ("train", "recipe", "train --recipe gone.toml", USAGE),
    ("cv", "cache", "cv --cache gone.h5", ARTIFACT),
    ("cv", "resume", "cv --resume gone", ARTIFACT),
    ("cv", "splits", "cv --splits gone.csv", USAGE),
    ("cv", "recipe", "cv --recipe gone.toml", USAGE),
    ("calibrate", "run", "calibrate gone", ARTIFACT),
    ("predict", "inputs", "predict gone --watch-once --out t.parquet", NO_INPUT),
    ("predict", "model", "predict films --model gone", ARTIFACT),
    ("predict", "files_from", "predict --files-from gone", USAGE),
    ("predict", "codes", "predict films --dicom-sr sr --codes gone.csv", USAGE),
    ("localize", "inputs", "localize films/gone.png --model m.magsd", ARTIFACT),
    ("localize", "model", "localize films --model gone", ARTIFACT),
    ("localize", "boxes", "localize films --boxes gone.csv", USAGE),
    ("localize", "masks", "localize films --masks gone", USAGE),
    ("localize", "lungs", "localize films --lungs gone", USAGE),
    ("localize", "zones", "localize films --lungs films --zones gone.csv", USAGE),
    ("report", "runs_given", "report gone", ARTIFACT),
    ("report", "truth", "report gone --external t.parquet --truth gone.csv", USAGE),
    ("export", "run", "export gone", ARTIFACT),
    ("verify", "path", "verify gone", ARTIFACT),
    ("runs show", "run", "runs show gone", ARTIFACT),
    ("runs compare", "first", "runs compare gone other", ARTIFACT),
    ("runs compare", "second", "runs compare gone other", ARTIFACT),
    ("runs rm", "names", "runs rm gone --yes", ARTIFACT),
    ("recipes show", "name", "recipes show gone.toml", USAGE),
    ("recipes copy", "name", "recipes copy gone.toml new.toml", USAGE),
    ("recipes validate", "files", "recipes validate gone.toml", USAGE),
    ("pacs screen", "model", "pacs screen http://127.0.0.1:9 --out t.parquet --model gone", ARTIFACT),
    ("pacs screen", "ca", "pacs screen https://127.0.0.1:9 --out t.parquet --ca gone", USAGE),
    (
        "pacs screen",
        "client_cert",
        "pacs screen https://127.0.0.1:9 --out t.parquet --client-cert gone",
        USAGE,
    ),
    ("pacs screen", "client_key", "pacs screen https://x --out t.parquet --client-key gone", USAGE),
    ("pacs screen", "site_key", "pacs screen https://127.0.0.1:9 --out t.parquet --site-key gone", USAGE),
]
SAID = ("not found", "missing", "no such", "not there", "no run of that name")
#: Found while the report of a finished run is made: tests/report/sections/test_external.py.
ELSEWHERE = {("report", "external")}


@pytest.mark.parametrize(("command", "parameter", "line", "code"), MISSING, ids=str)
def test_what_is_missing_is_said_to_be(
    command: str,
    parameter: str,
    line: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    Path("films/1.png").write_bytes(b"")
    with pytest.raises(SystemExit) as left:
        main(line.split())
    said = capfd.readouterr().err.splitlines()[-1]
    assert left.value.code == code, said
    assert said.startswith("magsd: error: ")
    assert any(words in said for words in SAID), said
    assert "damaged" not in said
    assert "Errno" not in said


def _commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
    for name, one in (below or {}).items():
        yield from _commands(one, f"{path} {name}".strip())


def test_every_path_that_is_read_stands_in_the_table() -> None:
    known = {(command, parameter) for command, parameter, _, _ in MISSING} | ELSEWHERE
    for path, command in _commands(get_command(app)):
        for name, kind in get_type_hints(inspect.unwrap(command.callback)).items():
            if "Path" in str(kind) and name not in OUTPUTS:
                assert (path, name) in known, f"{path}: {name} is not in the table"
