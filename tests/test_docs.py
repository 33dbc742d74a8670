"""What the documents say of the tree is so: each path exists, each function of docs/paper.md is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "magsd_cli"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
EXAMPLES = {"pocket", "erasing", "clinic"}  # files that a reader of docs/adding-*.md writes
TOP = {"magsd_cli", "tests", "docs", "bench", "recipes", ".ci"}

#: A piece of a path, with placeholders such as <name> and patterns such as *.py.
_PATH = re.compile(r"(?<![\w./<>~-])(?:\./)?((?:[\w.<>*-]+/)+[\w.<>*-]*)")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
_ENTRY = re.compile(r"`([a-z_0-9/]+\.py)(?:: (\w+))?`((?:, `\w+`)*)")
_RECIPE = re.compile(r"--recipe ([a-z][\w/-]*)")


def absent_paths(text: str, folder: Path = ROOT) -> list[str]:
    """The repository paths, links and recipes that a document in `folder` names and that are not there."""
    found = [path for path in _PATH.findall(text) if _is_ours(path) and not _exists(path)]
    found += [link for link in _LINK.findall(text) if "://" not in link and not (folder / link).exists()]
    names = {name for name in _RECIPE.findall(text) if Path(name).stem not in EXAMPLES}
    recipes = ROOT / "recipes"
    return found + sorted(
        name for name in names if not (recipes / f"{name}.toml").exists() and not (recipes / name).is_dir()
    )


def _is_ours(path: str) -> bool:
    first, last = path.split("/", maxsplit=1)[0], path.rstrip(".").rsplit("/", 1)[-1]
    if Path(last).stem in EXAMPLES:
        return False
    # The first part of a path from the root, or a file in a room as docs/paper.md writes it.
    return first in TOP or (first in ROOMS and last.endswith(".py"))


def _exists(path: str) -> bool:
    pattern = re.sub(r"<\w+>", "*", path.rstrip("./"))
    return any(any(place.glob(pattern)) for place in (ROOT, PACKAGE))


def absent_functions(text: str) -> list[str]:
    """The ``file.py: name`` entries of a document that are not there: no such file, or no such name in it."""
    found = []
    for file, name, more in _ENTRY.findall(text):
        path = next((place / file for place in (PACKAGE, ROOT) if (place / file).is_file()), None)
        if path is None:
            found.append(file)
            continue
        names = [name, *re.findall(r"\w+", more)] if name else []
        found += [f"{file}: {one}" for one in names if one not in _defined(path)]
    return found


def _defined(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def rooms_of_the_map(text: str) -> set[str]:
    """The entries under ``magsd_cli/`` in docs/architecture.md: files and folders with a slash."""
    block = text.split("```\nmagsd_cli/", 1)[1].split("```", 1)[0]
    return set(re.findall(r"^  ([a-z_]+(?:\.py|/)) ", block, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_is_there(document: Path) -> None:
    assert absent_paths(document.read_text(), document.parent) == []


def test_every_function_of_the_paper_is_there() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    assert len(_ENTRY.findall(text)) > 20
    assert absent_functions(text) == []


def test_the_map_names_the_rooms_that_there_are() -> None:
    files = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    assert rooms_of_the_map((ROOT / "docs" / "architecture.md").read_text()) == files | {
        f"{room}/" for room in ROOMS
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "`tests/metrics/test_gone.py`",
        "see magsd_cli/stages/predict.py.",
        "`data/gone.py`",
        "[figures](gone.png)",
        "`python bench/gone.py --rounds 3`",
        "magsd cv --recipe table9/l2",
        "`recipes/table3/gone.toml`",
        "`tests/gone/test_<file>.py`",
    ],
)
def test_a_wrong_path_is_seen(wrong: str) -> None:
    assert len(absent_paths(wrong)) == 1


def test_a_wrong_function_and_a_wrong_file_are_seen() -> None:
    right = "`metrics/rates.py` and `metrics/iou.py: mask_iou`"
    wrong = "`metrics/iou.py: gone`, `box_iou` | `metrics/gone.py` | `metrics/iou.py: box_iou`, `no`"
    assert absent_functions(f"{right} {wrong}") == [
        "metrics/iou.py: gone",
        "metrics/gone.py",
        "metrics/iou.py: no",
    ]
