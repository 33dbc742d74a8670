"""How the code speaks: docstrings open with a verb or a noun, counted things have the right plural."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "magsd_cli"
QUESTION = re.compile(r"(What|Which|How|Whether|Where|When|Who|Whom|Whose|Why)\b")
#: Words that stood for something else once; each reads like a translation.
ODD = {
    "a little too good": "slightly optimistic",
    "no medical device": "not a medical device",
    "leave away": "omit",
    "leave it away": "omit it",
    "mend": "fix",
    "looked at and nothing found": "checked; no reason to refer",
    "what was given": "the value given",
}


def docstrings(source: str) -> list[str]:
    nodes = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    return [text for text in map(ast.get_docstring, nodes) if text]


def words_said(source: str) -> list[str]:
    """The texts of a module: constants and the fixed parts of f-strings, docstrings too."""
    found = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)]
    return [text for text in found if isinstance(text, str)]


def counted_by_hand(source: str) -> list[str]:
    """The f-strings that put a plural behind `len(...)` in braces: one of them would be "1 files"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, following in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or not isinstance(following, ast.Constant):
                continue
            number = ast.unparse(value.value)
            word = re.match(r" (files|images|folds|networks|rows|problems|entries|runs|studies|patients)\b",
                            str(following.value))  # fmt: skip
            if re.fullmatch(r"len\([\w.]+\)", number) and word:
                found.append(f"{{{number}}}{word[0]}")
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("room", sorted({path.parent for path in MODULES}), ids=lambda path: path.name)
def test_docstrings_open_with_a_verb_or_a_noun(room: Path) -> None:
    for path in sorted(room.glob("*.py")):
        for text in docstrings(path.read_text()):
            assert not QUESTION.match(text), f"{path.relative_to(PACKAGE)}: {text.splitlines()[0]}"


def test_no_odd_words() -> None:
    for path in MODULES:
        for text in words_said(path.read_text()):
            for odd, better in ODD.items():
                assert not re.search(rf"\b{odd}\b", text), f"{path.relative_to(PACKAGE)}: {odd!r}: {better}"


def test_plurals() -> None:
    for path in MODULES:
        if not {"report", "render", "pictures.py"} & set(path.relative_to(PACKAGE).parts):  # of many images
            assert counted_by_hand(path.read_text()) == [], path.relative_to(PACKAGE)


def test_wrong_ones_are_seen() -> None:
    assert QUESTION.match(docstrings('def one():\n    """What it is."""\n')[0])
    assert counted_by_hand('say(f"{len(files)} files read")') == ["{len(files)} files"]
