"""The association of two labels, and of two orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from magsd_cli.metrics.roc import mid_ranks

Floats = npt.NDArray[np.float64]


def rank_correlation(one: npt.ArrayLike, other: npt.ArrayLike) -> float | None:
    """Spearman's rank correlation of two series [N], in -1..1; equal values share the mean of their ranks.

    None where either has one value only, or is not finite: then it has no order.
    """
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return None
    ranks, others = (values - values.mean() for values in (mid_ranks(first), mid_ranks(second)))
    squares = float((ranks @ ranks) * (others @ others))
    return float(np.clip(ranks @ others / np.sqrt(squares), -1, 1)) if squares > 0 else None


def cramers_v(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Cramer's V = sqrt(chi^2 / (N (min(r, c) - 1))) of two labels of the same N images, in 0..1.

    0: knowing one says nothing about the other; 1: it settles it. None where either has one value only.
    """
    cells, shape = _cells(one, other)
    if min(shape) < 2:
        return None
    table = cells.sum(axis=0).reshape(shape)
    return float(np.sqrt(_phi_squared(table[None])[0] / (min(shape) - 1)))


def corrected_cramers_v(
    one: Sequence[str], other: Sequence[str], weights: npt.ArrayLike | None = None
) -> Floats:
    """Bias-corrected V for each row of weights [D,N] (None: each image once): [D], NaN where undefined.

    phi^2 loses its expectation under independence, (r-1)(c-1)/(N-1), and the table's sides theirs: few images
    in many sources no longer look associated. Bergsma, J. Korean Stat. Soc. 42 (2013).
    """
    cells, (r, c) = _cells(one, other)
    counts = (np.ones((1, len(cells))) if weights is None else np.asarray(weights, np.float64)) @ cells
    n = counts.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = np.clip(_phi_squared(counts.reshape(-1, r, c)) - (r - 1) * (c - 1) / (n - 1), 0, None)
        sides = np.minimum(r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)) - 1
        return np.where(sides > 0, np.sqrt(np.minimum(phi / sides, 1)), np.nan)


def _cells(one: Sequence[str], other: Sequence[str]) -> tuple[Floats, tuple[int, int]]:
    """Return the cell of the table that each image is in, [N, r c] of 0 and 1, and the table's sides."""
    rows, row = np.unique(np.asarray(one, np.str_), return_inverse=True)
    columns, column = np.unique(np.asarray(other, np.str_), return_inverse=True)
    return np.eye(len(rows) * len(columns))[row * len(columns) + column], (len(rows), len(columns))


def _phi_squared(tables: Floats) -> Floats:
    """chi^2 / N of tables [D,r,c]: [D]. An empty row or column adds nothing."""
    total = tables.sum(axis=(1, 2))[:, None, None]
    expected = tables.sum(axis=2, keepdims=True) * tables.sum(axis=1, keepdims=True) / total
    parts = np.divide((tables - expected) ** 2, expected, out=np.zeros_like(tables), where=expected > 0)
    return np.asarray(parts.sum(axis=(1, 2)) / total[:, 0, 0], np.float64)
