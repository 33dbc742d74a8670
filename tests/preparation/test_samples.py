"""Label maps, the choice of N per class, ids of several sources, hashed patients."""

from __future__ import annotations

from pathlib import Path

import pytest

from magsd_cli.data.layouts import Record
from magsd_cli.errors import UsageError
from magsd_cli.preparation.samples import build_samples, choose, distinct_ids, map_labels, used_classes


def record(name: str, label: str | None = "A", **more: str) -> Record:
    return Record(path=Path("/x") / name, image_id=name, label=label, **more)  # type: ignore[arg-type]


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
    frame = build_samples(records, rows.items(), [0, 1, 3], lambda: b"k" * 32)
    assert list(frame["status"]) == ["ok", "error", "excluded", "ok"]
    assert list(frame["index"]) == [0, -1, -1, 1]
    assert list(frame["error_code"]) == ["", "truncated", "ct", ""]
    assert used_classes(frame) == ("A", "B")
    patient = frame["patient_id"][3]
    assert patient.startswith("h-")
    assert "Jane" not in frame.to_csv()
    again = build_samples(records, rows.items(), [0, 1, 3], lambda: b"k" * 32)["patient_id"][3]
    other = build_samples(records, rows.items(), [0, 1, 3], lambda: b"l" * 32)["patient_id"][3]
    assert patient == again != other


def test_an_anonymisers_word_is_no_patient() -> None:
    frame = build_samples(
        [record("a")], [(0, {"error_code": "", "patient_id": "Anonymous"})], [0], lambda: b"k" * 32
    )
    assert frame["patient_id"][0] == ""
