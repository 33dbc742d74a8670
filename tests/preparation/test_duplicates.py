"""Duplicates are found, groups are closed, conflicting labels are left out."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from pictures import noise

from magsd_cli.data.ingest import perceptual_hash
from magsd_cli.preparation.duplicates import group_images, guard, near_pairs


def test_the_same_picture_in_other_clothes() -> None:
    picture = cv2.resize(noise(1, 160), (224, 224))
    hashed = perceptual_hash(picture)
    smaller = perceptual_hash(cv2.resize(picture, (112, 112), interpolation=cv2.INTER_AREA))
    jpeg = perceptual_hash(cv2.imdecode(cv2.imencode(".jpg", picture)[1], 0))
    others = [perceptual_hash(cv2.resize(noise(seed, 160), (224, 224))) for seed in range(2, 8)]
    assert len(hashed) == 64
    assert {(i, j) for i, j, _ in near_pairs([hashed, *others, smaller, "", jpeg])} == {
        (0, 7),
        (0, 9),
        (7, 9),
    }


def test_pairs_against_a_plain_count(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    base = generator.integers(0, 256, 32, dtype=np.uint8)
    hashes = []
    for _ in range(40):
        flips = np.packbits(generator.random(256) < generator.choice([0.01, 0.1, 0.5]))
        hashes.append((base ^ flips).tobytes().hex())
    expected = [
        (i, j, (int(hashes[i], 16) ^ int(hashes[j], 16)).bit_count())
        for i in range(40)
        for j in range(i + 1, 40)
        if (int(hashes[i], 16) ^ int(hashes[j], 16)).bit_count() <= 32
    ]
    monkeypatch.setattr("magsd_cli.preparation.duplicates.BLOCK", 7)
    assert sorted(near_pairs(hashes)) == expected
    assert expected


def test_groups_are_closed() -> None:
    patients = ["a", "", "a", "b", "", ""]
    exams = ["", "e", "", "e", "", ""]
    assert group_images([patients, exams], [(2, 4)], 6) == [0, 1, 0, 1, 0, 5]


def frame(**columns: list[str]) -> pd.DataFrame:
    count = len(columns["image_id"])
    names = ("error_code", "error", "label", "patient_id", "exam_id", "group_id", "pixels_sha256", "source")
    defaults = {name: [""] * count for name in names}
    hashes = [np.random.default_rng(n).bytes(32).hex() for n in range(count)]
    return pd.DataFrame(defaults | {"status": ["ok"] * count, "perceptual_hash": hashes} | columns)


def test_group_names() -> None:
    alike = ["00" * 32, "11" * 32, "00" * 31 + "03", "22" * 32, "11" * 32, *["33" * 32] * 2]
    samples, notes = guard(
        frame(
            image_id=["a", "b", "c", "d", "e", "f", "g"],
            patient_id=["", "", "p", "", "", "q", "r"],
            perceptual_hash=alike,
            pixels_sha256=["1", "2", "3", "4", "2", "5", "6"],
            label=["x", "y", "x", "x", "y", "x", "x"],
        )
    )
    assert list(samples["group_id"]) == ["p", "like b", "p", "", "like b", "q", "q"]
    assert list(samples["status"]) == ["ok"] * 7
    assert notes == [
        "1 exact duplicates, 3 pairs of near-duplicates"
        " (1 across patients, 2 of unknown patients; each group shares a fold)"
    ]


def test_conflicting_labels_are_left_out() -> None:
    samples, notes = guard(
        frame(image_id=["a", "b", "c", "d"], pixels_sha256=["1", "1", "2", "2"], label=["x", "y", "x", ""])
    )
    assert list(samples["status"]) == ["excluded", "excluded", "ok", "ok"]
    assert samples["error_code"][0] == "conflicting_labels"
    assert samples["error"][0] == "the same picture is labelled x and y"
    assert "2 images left out" in notes[-1]
