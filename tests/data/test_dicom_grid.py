"""A grid of DICOM files against an independent reader and the drawn truth.

Photometric interpretation x bits stored x high bit x signedness x padding x LUT or window x transfer syntax,
and headers that lie. Pixels are compared after grading, before resizing and CLAHE. The figures in
docs/reliability.md are printed by ``python tests/data/test_dicom_grid.py COUNT``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from dicom_grid import (
    Case,
    chosen_cases,
    colour_cases,
    draw,
    gray_cases,
    lying_cases,
    missing_tools,
    read_independently,
    write,
)

from magsd_cli.data.decode import DecodeError, decode_image

MOST = 2  # gray levels that a pixel may be off
SAID = {
    "left unsaid": "above the high bit",
    "right unsaid": "not shifted",
    "too few bits": "more in the pixels",
    "sign unsaid": "read as signed",
    "lut bits": "lookup table",
    "colour space": "in the header",
}


def try_cases(cases: Sequence[Case], folder: Path) -> tuple[Counter[str], list[str]]:
    """How many agree with the truth and with the independent reader, and what went wrong, in words."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        drawn = draw(case)
        path = write(drawn, case, folder)
        if path is None:
            counts["not written"] += 1
            wrong.append(f"{case}: no tool wrote it")
            continue
        counts["tried"] += 1
        try:
            ours = decode_image(path.read_bytes())
        except DecodeError as error:
            counts[f"refused: {error.code}"] += 1
            wrong.append(f"{case}: {error.code}: {error.reason}")
            continue
        shown = read_independently(path, drawn, case, folder)
        truth = _most_apart(ours.pixels, drawn.shades)
        other = None if shown is None else _most_apart(ours.pixels, shown)
        counts["agree with the truth"] += truth <= MOST
        counts["lossy, off the truth"] += case.lossy and truth > MOST
        counts["settled by the reader"] += case.settled
        counts["settled, agree with the reader"] += case.settled and other is not None and other <= MOST
        if (truth > MOST and not case.lossy) or (case.settled and (other is None or other > MOST)):
            wrong.append(f"{case}: {truth} from the truth, {other} from the reader")
        silent = [lie for lie in (case.lie,) if lie in SAID and SAID[lie] not in " ".join(ours.warnings)]
        silent += ["padding"] if case.padding != "none" and "padding" not in " ".join(ours.warnings) else []
        silent += (
            ["palette"] if "PALETTE" in case.photometric and "palette" not in " ".join(ours.warnings) else []
        )
        if silent:
            wrong.append(f"{case}: nothing said of {silent[0]}, only {ours.warnings}")
    return counts, wrong


def _most_apart(pixels: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(pixels.astype(int) - other.astype(int)).max())


@pytest.fixture
def _tools() -> None:
    missing = missing_tools()
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: `apt-get install dcmtk libopenjp2-tools`")


@pytest.mark.slow
@pytest.mark.sample
@pytest.mark.usefixtures("_tools")
def test_a_sample_of_the_grid(tmp_path: Path) -> None:
    fixed = [*colour_cases(), *lying_cases()]
    counts, wrong = try_cases([*fixed[::4], *chosen_cases(len(fixed) + 80, seed=1)[len(fixed) :]], tmp_path)
    assert not wrong, "\n".join(wrong)
    assert counts["tried"] >= 120


@pytest.mark.slow
@pytest.mark.usefixtures("_tools")
@pytest.mark.timeout(1200)
def test_the_grid(tmp_path: Path) -> None:
    counts, wrong = try_cases(chosen_cases(1000), tmp_path)
    assert not wrong, "\n".join(wrong)
    assert counts["tried"] >= 1000


def test_the_grid_covers_what_it_names() -> None:
    gray = gray_cases()
    for name in ("photometric", "bits", "high", "signed", "padding", "grading", "syntax"):
        assert len({getattr(case, name) for case in gray}) > 1
        assert len({getattr(case, name) for case in chosen_cases(600)}) > 1
    assert len(set(chosen_cases(600))) == 600


def test_the_drawn_truth_by_hand() -> None:
    """Without a reader at hand: the grid's own files, uncompressed, against its own formulas."""
    from pictures import dicom_bytes

    for case in [*gray_cases()[::97], *lying_cases()[::7], *colour_cases()[::3]]:
        drawn = draw(replace(case, syntax="explicit"))
        pixels = decode_image(dicom_bytes(drawn.dataset)).pixels
        assert _most_apart(pixels, drawn.shades) <= MOST, case


if __name__ == "__main__":
    with TemporaryDirectory() as name:
        found, bad = try_cases(chosen_cases(int(sys.argv[1])), Path(name))
    for line in bad:
        print(line)
    for line, count in sorted(found.items()):
        print(f"{line}: {count}")
