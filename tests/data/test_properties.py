"""The decoder and the manifest reader on whatever Hypothesis thinks of: a result, or the promised refusal."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pictures import encoded
from test_fuzz import good_files, outcome

from magsd_cli.data.decode import decode_image
from magsd_cli.data.layouts import read_layout
from magsd_cli.errors import NoInputError, UsageError

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=80)
settings.load_profile("repeatable")

GOOD = good_files()
SIDES = st.integers(16, 40)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\x00", exclude_categories=("Cs",)), max_size=12
)
COLUMNS = ("path", "label", "patient_id")


@given(st.binary(max_size=400))
def test_any_bytes_have_a_coded_outcome(data: bytes) -> None:
    outcome(data)


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_any_splice_of_a_good_file_has_a_coded_outcome(name: str, data: st.DataObject) -> None:
    whole = GOOD[name]
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 64)))
    outcome(whole[:start] + data.draw(st.binary(max_size=64)) + whole[end:])


@given(st.tuples(SIDES, SIDES).flatmap(lambda shape: arrays(np.uint8, shape)))
def test_the_pixels_of_a_png_are_its_pixels(pixels: np.ndarray) -> None:
    if pixels.min() < pixels.max():
        assert np.array_equal(decode_image(encoded(pixels)).pixels, pixels)


def listing_of(manifest: bytes) -> list[tuple[str, str, str]] | None:
    """The manifest's records, or None where it was refused in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metadata.csv")
        path.write_bytes(manifest)
        try:
            records = read_layout(Path(folder), "csv").records
        except (UsageError, NoInputError) as error:
            refusal = str(error)
        else:
            return [(record.image_id, record.label or "", record.patient_id) for record in records]
    assert len(refusal.splitlines()) == 1
    return None


@given(st.binary(max_size=300))
def test_any_manifest_is_read_or_refused(tail: bytes) -> None:
    listing_of(tail)
    listing_of(b"path,label,patient_id\n" + tail)


@given(st.lists(st.lists(NAMES, min_size=2, max_size=4), max_size=5))
def test_any_rows_are_read_or_refused(rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *rows])
    found = listing_of(text.getvalue().encode())
    if found is not None:
        assert len({image for image, _, _ in found}) == len(found)


WORDS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@given(st.dictionaries(WORDS, st.tuples(WORDS, WORDS), min_size=1, max_size=6), st.booleans())
def test_what_is_written_is_what_is_read(rows: dict[str, tuple[str, str]], mark: bool) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([COLUMNS, *((f"{name}.png", *rest) for name, rest in rows.items())])
    found = listing_of(b"\xef\xbb\xbf" * mark + text.getvalue().encode())
    assert found == [(f"{name}.png", *rest) for name, rest in rows.items()]
