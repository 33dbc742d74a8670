"""How strongly two labels go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cramers_v(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Cramer's V = sqrt(chi^2 / (N (min(r, c) - 1))) of two labels of the same N images, in 0..1.

    0: knowing one says nothing about the other; 1: it settles it. None where either has one value only.
    """
    rows, row = np.unique(np.asarray(one, np.str_), return_inverse=True)
    columns, column = np.unique(np.asarray(other, np.str_), return_inverse=True)
    least = min(len(rows), len(columns))
    if least < 2:
        return None
    table = np.bincount(row * len(columns) + column, minlength=len(rows) * len(columns))
    table = table.reshape(len(rows), len(columns)).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    chi_squared = float(((table - expected) ** 2 / expected).sum())
    return float(np.sqrt(chi_squared / (table.sum() * (least - 1))))
