"""Duplicates are found, groups are closed, conflicting labels are left out."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
import pandas as pd
import pytest
from pictures import noise
from PIL import Image

from magsd_cli.console import counted
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


@pytest.mark.parametrize("seed", range(30))
def test_the_hash_is_imagehash_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256 >> seed % 6, (40 + 7 * seed, 64 + 5 * seed), dtype=np.uint8)
    picture = rough if seed % 2 else cv2.GaussianBlur(rough, (0, 0), 3)
    small = cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA)
    bits = imagehash.phash(Image.fromarray(small), hash_size=16).hash
    assert perceptual_hash(picture) == np.packbits(bits.ravel()).tobytes().hex()


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
    assert group_images([patients, exams], [(2, 4)], 6).tolist() == [0, 1, 0, 1, 0, 5]


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
        "1 exact duplicate among 3 pairs of near-duplicates"
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


def listed(samples: pd.DataFrame) -> tuple[list[str], str]:
    """Groups and the note, with every pair listed one by one: what counting by hash must equal."""
    hashes, patients = list(samples["perceptual_hash"]), list(samples["patient_id"])
    pairs = [(i, j) for i, j, _ in near_pairs(hashes)]
    links = [list(samples[name]) for name in ("patient_id", "exam_id", "pixels_sha256")]
    groups = group_images(links, pairs, len(samples)).tolist()
    unknown = sum(not (patients[i] and patients[j]) for i, j in pairs)
    across = sum(patients[i] != patients[j] for i, j in pairs if patients[i] and patients[j])
    words = f", {unknown} of unknown patients" if unknown else ""
    exact = len(samples) - samples["pixels_sha256"].nunique()
    copies = f"{counted(exact, 'exact duplicate')} among " if exact else ""
    note = f"{copies}{counted(len(pairs), 'pair')} of near-duplicates ({across} across patients{words}"
    return [str(group) for group in groups], note


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_counted_as_if_listed(seed: int) -> None:
    """Few hashes, some near each other, many images of each, patients known and not."""
    rng = np.random.default_rng(seed)
    hashes = ["00" * 32, "00" * 31 + "07", "ff" * 32, "ff" * 30 + "00ff", "", rng.bytes(32).hex()]
    count = 60
    samples = frame(
        image_id=[f"i{n}" for n in range(count)],
        patient_id=[("", "p", "q", "r")[n] for n in rng.integers(0, 4, count)],
        perceptual_hash=[hashes[n] for n in rng.integers(0, len(hashes), count)],
        pixels_sha256=[str(n) for n in rng.integers(0, 40, count)],
    )
    groups, note = listed(samples)
    found, notes = guard(samples)
    assert notes[0].startswith(note)
    together = found.groupby("group_id").groups
    named = [group for group in set(groups) if groups.count(group) > 1]
    for group in named:
        members = [n for n in range(count) if groups[n] == group]
        assert list(together[found["group_id"][members[0]]]) == members


def test_a_picture_that_is_there_20_000_times_is_one_group() -> None:
    """200 million pairs, never listed one by one."""
    count = 20_000
    samples, notes = guard(
        frame(image_id=[f"i{n}" for n in range(count)], perceptual_hash=["5a" * 32] * count)
    )
    assert set(samples["group_id"]) == {"like i0"}
    assert "199990000 pairs of near-duplicates (0 across patients, 199990000 of unknown" in notes[0]
