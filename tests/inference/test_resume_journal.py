"""The journal keeps every whole row of an interrupted run, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from magsd_cli.errors import OutputError
from magsd_cli.inference.resume import append, journal_path, open_journal, read_journal, remove_journal

ROWS = [{"path": "a\n\u202e", "p": 0.1 + 0.2}, {"path": "b", "p": 1 / 3}]


def _begin(final: Path, model: str = "m") -> None:
    with open_journal(final, model, ROWS[:1]) as journal:
        append(journal, final, ROWS[1:])


def test_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    _begin(tmp_path / "t")
    assert read_journal(tmp_path / "t", "m") == ROWS
    remove_journal(tmp_path / "t")
    assert read_journal(tmp_path / "t", "m") == []
    assert list(tmp_path.iterdir()) == []


def test_rows_of_another_model_are_not_taken(tmp_path: Path) -> None:
    _begin(tmp_path / "t")
    assert read_journal(tmp_path / "t", "other") == []


def test_a_cut_anywhere_costs_at_most_the_row_that_was_cut(tmp_path: Path) -> None:
    _begin(tmp_path / "t")
    data = journal_path(tmp_path / "t").read_bytes()
    for length in range(len(data)):
        journal_path(tmp_path / "t").write_bytes(data[:length])
        # The line break after the last row is not needed: its checksum says that it is whole.
        whole = [i for i in range(3) if len(b"\n".join(data.split(b"\n")[: i + 1])) <= length]
        assert read_journal(tmp_path / "t", "m") == ROWS[: max(0, len(whole) - 1)]


def test_a_flipped_bit_costs_only_its_row(tmp_path: Path) -> None:
    _begin(tmp_path / "t")
    data = bytearray(journal_path(tmp_path / "t").read_bytes())
    data[-5] ^= 1
    journal_path(tmp_path / "t").write_bytes(data)
    assert read_journal(tmp_path / "t", "m") == ROWS[:1]


def test_rows_after_a_cut_line_are_read(tmp_path: Path) -> None:
    _begin(tmp_path / "t")
    data = journal_path(tmp_path / "t").read_bytes().splitlines(keepends=True)
    journal_path(tmp_path / "t").write_bytes(data[0] + data[1][:20] + b"\n" + data[2])
    assert read_journal(tmp_path / "t", "m") == ROWS[1:]


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/t"), open_journal(tmp_path / "file" / "t", "m", []):
        pass
