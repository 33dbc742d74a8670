"""The code of a notebook, without a notebook server."""

from __future__ import annotations

import json
from pathlib import Path


def code_cells(path: Path) -> list[str]:
    """The text of each code cell, in order. Raises `AssertionError` where a cell is not plain Python."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not [cell for cell in cells if cell.lstrip().startswith(("%", "!"))]
    return cells
