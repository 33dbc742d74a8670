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

    Column = Sequence[str] | pd.Series[str]
else:
    Column = object

NEAR = 32  # bits of 256: the same exposure, however it was processed
SAME = 8  # bits of 256: the same picture, encoded again
BLOCK = 2048
Packed = npt.NDArray[np.uint8]  # the bits of hashes [N, B / 8]
Pairs = Iterable[list[tuple[int, int, int]]]
Positions = npt.NDArray[np.int64]


def near_pairs(
    hashes: Sequence[str] | pd.Index[str],
    most: int = NEAR,
    compare: Callable[[Packed, int], Pairs] | None = None,
) -> list[tuple[int, int, int]]:
    """Pairs (i, j, bits), i < j, of hashes that differ in at most `most` bits; "" has no pair.

    All pairs are compared, in blocks: memory stays small, and 100,000 images take 36 s of one core. `compare`
    does the blocks elsewhere; it gives what `compare_rows` gives for each block, in order.
    """
    known = np.fromiter((position for position, value in enumerate(hashes) if value), np.int64)
    bits_of = b"".join(bytes.fromhex(value) for value in hashes if value)
    packed = np.frombuffer(bits_of, np.uint8).reshape(max(1, len(known)), -1)[: len(known)]
    blocks = (compare or _compare_here)(packed, most)
    return [(int(known[i]), int(known[j]), bits) for found in blocks for i, j, bits in found]


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


def group_images(links: Iterable[Column], pairs: Iterable[tuple[int, int]], count: int) -> Positions:
    """The group of each of `count` images: the smallest position among those linked to it, directly or not.

    `links` are columns [count] of names (patients, exams, content hashes): images with the same name, other
    than "", belong together; `pairs` are further links.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = np.array([*pairs], np.int64).reshape(-1, 2)
    edges = np.concatenate([known, *map(_linked, links)]).T
    graph = coo_array((np.ones(edges.shape[1], bool), (edges[0], edges[1])), (count, count))
    component = connected_components(graph, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    groups: Positions = first[component]
    return groups


def _linked(column: Column) -> Positions:
    """Each position whose name, other than "", was there before, and where it was first: int64 [L,2]."""
    codes, names, first = _numbered(column)
    again = (first[codes] != np.arange(len(codes))) & (names != "")[codes]
    return np.stack([first[codes[again]], np.flatnonzero(again)], axis=1)


def _numbered(column: Column) -> tuple[Positions, pd.Index[str], Positions]:
    """Number the names of a column as they appear: each one's number [N], names [M], first positions [M]."""
    import pandas as pd

    codes, names = pd.factorize(pd.Series(column, dtype="str"))
    return codes, names, np.unique(codes, return_index=True)[1]


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

    def column(name: str) -> pd.Series[str]:
        """Return one at a time of what is known of the usable images: all together are not needed."""
        chosen: pd.Series[str] = samples.loc[used, name]
        return chosen

    codes, hashes, first = _numbered(column("perceptual_hash"))
    near = near_pairs(hashes, compare=compare)
    notes = _exclude_conflicts(samples, used, [(first[i], first[j]) for i, j, bits in near if bits <= SAME])
    links = map(column, ("patient_id", "exam_id", "pixels_sha256", "perceptual_hash"))
    groups = group_images(links, [(first[i], first[j]) for i, j, _ in near], len(used))
    samples.loc[used, "group_id"] = _name_groups(groups, column("patient_id"), column("image_id"))
    exact = len(used) - column("pixels_sha256").nunique()
    pairs, unknown, across = _count_pairs(codes, hashes, column("patient_id"), near)
    if pairs:
        crossing = _crossing(unknown, across)
        copies = f"{counted(exact, 'exact duplicate')} among " if exact else ""
        notes.insert(0, f"{copies}{counted(pairs, 'pair')} of near-duplicates ({crossing})")
    return samples, notes


def _count_pairs(
    codes: Positions,
    hashes: pd.Index[str],
    patients: pd.Series[str],
    near: Sequence[tuple[int, int, int]],
) -> tuple[int, int, int]:
    """Count pairs of near-duplicates, those with an unknown patient, and those of two patients.

    `codes` number the images' `hashes`; `near` are pairs of these numbers.
    """
    looked_at = (np.bincount(codes, minlength=len(hashes)) > 1) & (hashes != "")
    looked_at[[number for i, j, _ in near for number in (i, j)]] = True
    counts: dict[int, Counter[str]] = {int(code): Counter() for code in np.flatnonzero(looked_at)}
    among = np.flatnonzero(looked_at[codes])
    for code, patient in zip(codes[among].tolist(), patients.iloc[among], strict=True):
        counts[code][patient] += 1
    found = [_pairs_within(some) for some in counts.values()]
    found += [_pairs_between(counts[i], counts[j]) for i, j, _ in near]
    pairs, unknown, across = (sum(row[place] for row in found) for place in range(3))
    return pairs, unknown, across


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


def _name_groups(groups: Positions, patients: pd.Series[str], ids: pd.Series[str]) -> pd.Series[str]:
    known = np.flatnonzero(patients != "")
    owner = np.full(len(ids), -1)  # of each group: the first image with a known patient
    named, where = np.unique(groups[known], return_index=True)
    owner[named] = known[where]
    owners = owner[groups]
    names: pd.Series[str] = patients.iloc[np.maximum(owners, 0)].set_axis(ids.index)
    names[owners < 0] = ""
    alike = np.flatnonzero((owners < 0) & (np.bincount(groups, minlength=len(ids))[groups] > 1))
    names[names.index[alike]] = np.array([f"like {ids.iloc[first]}" for first in groups[alike]], object)
    return names


def _exclude_conflicts(samples: pd.DataFrame, used: pd.Index, same: Sequence[tuple[int, int]]) -> list[str]:
    """Leave out every copy of a picture with different labels: one is wrong, and which is not known."""
    links = (samples.loc[used, name] for name in ("pixels_sha256", "perceptual_hash"))
    exact = group_images(links, same, len(used))
    codes, labels, _ = _numbered(samples.loc[used, "label"])
    known = labels[codes] != ""
    apart = np.unique(exact[known] * len(labels) + codes[known])  # each group with each of its labels
    group, different = np.unique(apart // max(1, len(labels)), return_counts=True)
    wrong = np.flatnonzero(np.isin(exact, group[different > 1]))
    if not len(wrong):
        return []
    of_group: dict[int, set[str]] = {}
    for i in wrong:
        of_group.setdefault(exact[i], set()).update({labels[codes[i]]} - {""})
    rows = used[wrong]
    samples.loc[rows, "status"] = "excluded"
    samples.loc[rows, "error_code"] = "conflicting_labels"
    samples.loc[rows, "error"] = [
        f"the same picture is labelled {' and '.join(sorted(of_group[exact[i]]))}" for i in wrong
    ]
    ids = samples.loc[rows[:6], "image_id"]
    listed = ", ".join(ids) + (", ..." if len(wrong) > 6 else "")
    return [f"{counted(len(wrong), 'image')} left out: the same picture under different labels ({listed})"]
