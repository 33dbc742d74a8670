"""The leak gate: which images are the same or belong together, and so must not face each other across folds.

Published COVID-19 data sets repeat each other's images, re-encoded and resized, sometimes with another label
(Roberts et al. 2021; Maguolo and Nanni 2021). Two images are near-duplicates when their perceptual hashes
(imagehash.phash, 256 bits) differ in at most `NEAR` bits. Measured on 890 chest X-rays of 611 patients: the
same picture in another size or JPEG quality differs by 0 to 6 bits, with another brightness by up to 30; the
nearest two of different patients differ by 56.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from magsd_cli.console import counted

if TYPE_CHECKING:
    import pandas as pd


NEAR = 32  # bits of 256: the same exposure, however it was processed
SAME = 8  # bits of 256: the same picture, encoded again
BLOCK = 2048
Packed = npt.NDArray[np.uint8]  # the bits of hashes [N, B / 8]


Pairs = Iterable[list[tuple[int, int, int]]]


def near_pairs(
    hashes: Sequence[str], most: int = NEAR, compare: Callable[[Packed, int], Pairs] | None = None
) -> list[tuple[int, int, int]]:
    """Pairs (i, j, bits), i < j, of hashes that differ in at most `most` bits; "" has no pair.

    All pairs are compared, in blocks: memory stays small, and 100,000 images take 36 s of one core. `compare`
    does the blocks elsewhere; it gives what `compare_rows` gives for each block, in order.
    """
    known = [position for position, value in enumerate(hashes) if value]
    packed = np.array([np.frombuffer(bytes.fromhex(hashes[p]), np.uint8) for p in known], np.uint8)
    blocks = (compare or _compare_here)(packed, most)
    return [(known[i], known[j], bits) for found in blocks for i, j, bits in found]


def _compare_here(packed: Packed, most: int) -> Pairs:
    return (compare_rows(packed, start, most) for start in range(0, len(packed), BLOCK))


def compare_rows(packed: Packed, start: int, most: int) -> list[tuple[int, int, int]]:
    """Near pairs (i, j, bits) of `BLOCK` hashes from `start` on with themselves and all behind them.

    packed: uint8 [N, 32]. With bits as signs, the product of two hashes of n bits that differ in d is
    n - 2 d, so a block is one product of matrices (whole numbers, exact in float32), several times as fast as
    counting bits.
    """
    found: list[tuple[int, int, int]] = []
    ours = _signs(packed[start : start + BLOCK])
    for other in range(start, len(packed), BLOCK):
        agreement = ours @ _signs(packed[other : other + BLOCK]).T
        for i, j in np.argwhere(agreement >= ours.shape[1] - 2 * most):
            if start + i < other + j:
                bits = (ours.shape[1] - int(agreement[i, j])) // 2
                found.append((start + int(i), other + int(j), bits))
    return found


def _signs(packed: Packed) -> npt.NDArray[np.float32]:
    """Bytes [N, B / 8] -> -1 or 1 for each bit [N, B]."""
    return 2 * np.unpackbits(packed, axis=1).astype(np.float32) - 1


def group_images(links: Iterable[Sequence[str]], pairs: Iterable[tuple[int, int]], count: int) -> list[int]:
    """The group of each of `count` images: the smallest position among those linked to it, directly or not.

    `links` are columns [count] of names (patients, exams, content hashes): images with the same name, other
    than "", belong together; `pairs` are further links.
    """
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        parent[high] = low

    for column in links:
        first: dict[str, int] = {}
        for position, name in enumerate(column):
            if name:
                join(first.setdefault(name, position), position)
    for i, j in pairs:
        join(i, j)
    return [root(position) for position in range(count)]


def guard(
    samples: pd.DataFrame, compare: Callable[[Packed, int], Pairs] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Give each usable image its `group_id`, leave out conflicting labels, and say in words what was found.

    A group's name is its first known patient's id, or "like <image id>" for near-duplicates of unknown
    patients; an image that stands alone and has no patient keeps "". `compare` as for `near_pairs`. Images
    with one hash are compared once: a picture that is there 20,000 times has 200 million pairs.
    """
    samples = samples.copy()
    used = samples.index[samples["status"] == "ok"]
    frame = samples.loc[used]
    alike: dict[str, list[int]] = {}
    for position, value in enumerate(frame["perceptual_hash"]):
        if value:
            alike.setdefault(value, []).append(position)
    members = list(alike.values())
    near = near_pairs(list(alike), compare=compare)
    notes = _exclude_conflicts(
        samples, used, [(members[i][0], members[j][0]) for i, j, bits in near if bits <= SAME]
    )
    links = [list(frame[name]) for name in ("patient_id", "exam_id", "pixels_sha256", "perceptual_hash")]
    groups = group_images(links, [(members[i][0], members[j][0]) for i, j, _ in near], len(frame))
    samples.loc[used, "group_id"] = _name_groups(groups, frame)
    exact = len(frame) - frame["pixels_sha256"].nunique()
    patients = list(frame["patient_id"])
    counts = [Counter(patients[position] for position in group) for group in members]
    pairs, unknown, across = np.sum(
        [(0, 0, 0), *map(_pairs_within, counts), *(_pairs_between(counts[i], counts[j]) for i, j, _ in near)],
        axis=0,
    ).tolist()
    if pairs:
        crossing = _crossing(unknown, across)
        copies = f"{counted(exact, 'exact duplicate')} among " if exact else ""
        notes.insert(0, f"{copies}{counted(pairs, 'pair')} of near-duplicates ({crossing})")
    return samples, notes


def _pairs_within(patients: Counter[str]) -> tuple[int, int, int]:
    """Among images of one hash: pairs, those with an unknown patient, and those of two patients."""
    count, known = patients.total(), patients.total() - patients[""]
    same = sum(n * (n - 1) // 2 for patient, n in patients.items() if patient)
    pairs, of_known = count * (count - 1) // 2, known * (known - 1) // 2
    return pairs, pairs - of_known, of_known - same


def _pairs_between(ours: Counter[str], theirs: Counter[str]) -> tuple[int, int, int]:
    """Count the same as `_pairs_within` for images of two hashes that are near each other."""
    pairs = ours.total() * theirs.total()
    of_known = (ours.total() - ours[""]) * (theirs.total() - theirs[""])
    same = sum(n * theirs[patient] for patient, n in ours.items() if patient)
    return pairs, pairs - of_known, of_known - same


def _crossing(unknown: int, across: int) -> str:
    words = f", {unknown} of unknown patients" if unknown else ""
    return f"{across} across patients{words}; each group shares a fold"


def _name_groups(groups: Sequence[int], frame: pd.DataFrame) -> list[str]:
    sizes = np.bincount(groups, minlength=len(frame))
    names: dict[int, str] = {}
    for group, patient in zip(groups, frame["patient_id"], strict=True):
        if patient:
            names.setdefault(group, patient)
    image_ids = list(frame["image_id"])
    for group in set(groups):
        if sizes[group] > 1:
            names.setdefault(group, f"like {image_ids[group]}")
    return [names.get(group, "") for group in groups]


def _exclude_conflicts(samples: pd.DataFrame, used: pd.Index, same: Sequence[tuple[int, int]]) -> list[str]:
    """Leave out every copy of a picture with different labels: one is wrong, and which is not known."""
    labels, ids = list(samples.loc[used, "label"]), list(samples.loc[used, "image_id"])
    links = [list(samples.loc[used, name]) for name in ("pixels_sha256", "perceptual_hash")]
    exact = group_images(links, same, len(used))
    known: dict[int, set[str]] = {}
    for group, label in zip(exact, labels, strict=True):
        known.setdefault(group, set()).update({label} - {""})
    wrong = [i for i, group in enumerate(exact) if len(known[group]) > 1]
    if not wrong:
        return []
    rows = [used[i] for i in wrong]
    samples.loc[rows, "status"] = "excluded"
    samples.loc[rows, "error_code"] = "conflicting_labels"
    samples.loc[rows, "error"] = [
        f"the same picture is labelled {' and '.join(sorted(known[exact[i]]))}" for i in wrong
    ]
    listed = ", ".join(ids[i] for i in wrong[:6]) + (", ..." if len(wrong) > 6 else "")
    return [f"{counted(len(wrong), 'image')} left out: the same picture under different labels ({listed})"]
