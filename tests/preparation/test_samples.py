"""Label maps, the choice of N per class, ids of several sources, hashed patients."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from magsd_cli.data.layouts import Record
from magsd_cli.errors import UsageError
from magsd_cli.preparation.samples import (
    Row,
    Samples,
    choose,
    distinct_ids,
    map_labels,
    sample_rows,
    used_classes,
)


def record(name: str, label: str | None = "A", **more: str) -> Record:
    return Record(path=Path("/x") / name, image_id=name, label=label, **more)  # type: ignore[arg-type]


def table(records: list[Record], rows: dict[int, Row], key: bytes) -> Samples:
    """The samples of `records`, of which those in `rows` were decoded and are used."""
    outcomes = [rows.get(position) for position in range(len(records))]
    return Samples(lambda: sample_rows(records, outcomes, rows, lambda: key * 32))


def test_label_map() -> None:
    records = [record("1", "viral"), record("2", "bacterial"), record("3", "odd")]
    mapped = map_labels(records, ["viral=Pneumonia", "bacterial = Pneumonia", "odd="])
    assert [r.label for r in mapped[:2]] == ["Pneumonia", "Pneumonia"]
    assert mapped[2].problem is not None
    for pair in ("nothing", "unknown=x", "=x"):
        with pytest.raises(UsageError, match="labels here are bacterial, odd, viral"):
            map_labels(records, [pair])


def test_choice_is_stable_and_replaces_failures() -> None:
    records = [record(str(n), "AB"[n % 2]) for n in range(40)]
    chosen = choose(records, 5, 0, set())
    assert [sum(n % 2 == side for n in chosen) for side in (0, 1)] == [5, 5]
    assert choose(records, 5, 0, set()) == chosen
    assert choose(records, 5, 1, set()) != chosen
    replaced = choose(records, 5, 0, {chosen[0]})
    assert set(chosen) - {chosen[0]} < set(replaced)
    assert len(replaced) == 10
    assert choose(records, None, 0, set()) == list(range(40))


def test_colliding_ids_get_their_source() -> None:
    one, two = [record("a"), record("b")], [record("a")]
    assert [r.image_id for r in distinct_ids([("x", one), ("y", two)])] == ["x/a", "x/b", "y/a"]
    assert [r.image_id for r in distinct_ids([("x", one), ("y", [record("c")])])] == ["a", "b", "c"]
    assert [r.source for r in distinct_ids([("x", one), ("y", [record("c", source="nih")])])] == [
        "x",
        "x",
        "nih",
    ]


def test_rows_of_all_kinds() -> None:
    records = [
        record("ok", patient_id="p"),
        record("bad"),
        record("left", problem=("ct", "a CT")),
        record("dcm", "B"),
    ]
    rows = {
        0: {"sha256": "s", "error_code": "", "error": "", "width": 3, "height": 4, "warnings": ("w",)},
        1: {"error_code": "truncated", "error": "cut"},
        3: {"error_code": "", "patient_id": "Jane^Doe", "sex": "F", "age": "50", "view": "PA"},
    }
    samples = table(records, rows, b"k")
    frame = samples.known
    assert list(frame["status"]) == ["ok", "error", "excluded", "ok"]
    assert list(frame["index"]) == [0, -1, -1, 1]
    assert list(frame["error_code"]) == ["", "truncated", "ct", ""]
    assert used_classes(frame) == ("A", "B")
    patient = frame["patient_id"][3]
    assert patient.startswith("h-")
    assert "Jane" not in frame.to_csv() + str(list(samples))
    again, other = (table(records, rows, key).known["patient_id"][3] for key in (b"k", b"l"))
    assert patient == again != other


def test_an_anonymisers_word_is_no_patient() -> None:
    rows: dict[int, Row] = {0: {"error_code": "", "patient_id": "Anonymous"}}
    assert table([record("a")], rows, b"k").known["patient_id"][0] == ""


def test_rows_are_made_anew_and_what_is_known_of_them_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are never kept: only what the leak gate needs is, and what it changed stands in them."""
    monkeypatch.setattr("magsd_cli.preparation.samples.GROUP_ROWS", 2)
    records = [record(str(number)) for number in range(5)]
    rows: dict[int, Row] = {n: {"error_code": "", "width": n, "warnings": ("w",)} for n in range(5)}
    samples = table(records, rows, b"k")
    samples.known = samples.known.assign(group_id="g")
    for _ in range(2):
        found = list(samples)
        assert [row["width"] for row in found] == list(range(5))
        assert [row["index"] for row in found] == list(range(5))
        assert {row["group_id"] for row in found} == {"g"}
        assert found[0]["warnings"] == ["w"]


def test_python_keeps_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow has what is known of all rows: the most memory of Python's own objects hardly grows with them."""
    monkeypatch.setattr("magsd_cli.preparation.samples.GROUP_ROWS", 200)
    most = {}
    for count in (1000, 1000, 4000):  # the first time imports are made as well
        records = [record(f"{number:06}") for number in range(count)]
        outcome: Row = {"error_code": "", "sha256": "f" * 64, "pixels_sha256": "e" * 64, "warnings": ("w",)}
        rows = dict.fromkeys(range(count), outcome)
        tracemalloc.start()
        samples = table(records, rows, b"k")
        assert sum(1 for _ in samples) == count
        most[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (most[4000] - most[1000]) / 3000 < 300  # bytes a row; a row of Python objects takes 3,000
