"""The data's way in words: no reason to leave an image out is without its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from magsd_cli.report.sections.data_flow import REASONS, flow_table, source_table

REPOSITORY = Path(__file__).resolve().parents[3]
#: Names of columns that stand beside a word, as a code stands beside its sentence.
COLUMNS = {"exam_id"}
CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def emitted_codes() -> set[str]:
    """Every code that the package's source gives a file."""
    package = REPOSITORY / "magsd_cli"
    sources = [path for room in ("data", "preparation") for path in package.glob(f"{room}/**/*.py")]
    return {code for source in sources for code in _codes(ast.parse(source.read_text()))}


def _codes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        candidates: list[ast.expr] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DecodeError":
            candidates = node.args[:1]
        elif isinstance(node, ast.keyword | ast.Assign) and _is_error_code(node):
            candidates = [node.value]
        elif isinstance(node, ast.Tuple):
            candidates = _of_tuple(node.elts)
        for value in candidates:
            if isinstance(value, ast.Constant) and CODE.fullmatch(str(value.value)):
                yield str(value.value)


def _is_error_code(node: ast.keyword | ast.Assign) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg == "error_code"
    return "'error_code'" in ast.unparse(node.targets[0])


def _of_tuple(parts: list[ast.expr]) -> list[ast.expr]:
    """A pair (code, sentence), or a triple ("excluded", code, sentence)."""
    if len(parts) == 3 and isinstance(parts[0], ast.Constant) and parts[0].value in ("excluded", "error"):
        parts = parts[1:]
    is_pair = len(parts) == 2 and isinstance(parts[1], ast.Constant | ast.JoinedStr)
    return parts[:1] if is_pair and " " in ast.unparse(parts[1]) else []


def test_every_code_has_words_and_stands_in_the_manual() -> None:
    codes = emitted_codes() - COLUMNS
    assert {"not_chosen", "conflicting_labels", "decoder_timeout", "unsupported_format", "no_box"} <= codes
    assert codes == set(REASONS)
    manual = (REPOSITORY / "docs" / "data.md").read_text()
    assert [code for code in sorted(codes) if f"`{code}`" not in manual] == []


def samples() -> pd.DataFrame:
    rows = [
        ("ok", "", "a", "p1", "s1", ()),
        ("ok", "", "b", "p1", "s2", ("palette read as gray",)),
        ("excluded", "other_finding", "", "", "s1", ()),
        ("excluded", "not_chosen", "a", "", "s1", ()),
        ("error", "multi_frame", "a", "", "s1", ()),
        ("error", "of_tomorrow", "a", "", "s1", ()),
    ]
    columns = ["status", "error_code", "label", "patient_id", "source", "warnings"]
    return pd.DataFrame(rows, columns=columns)


def test_the_flow_counts_every_file_once() -> None:
    table = flow_table(samples(), ("a", "b"), 2)
    assert table.head == ("", "all", "a", "b", "no label")
    assert table.rows == (
        ("files found", "6", "4", "1", "1"),
        ("- left out: more images of its class than were asked for", "1", "1", "0", "0"),
        ("- left out: another finding than the classes", "1", "0", "0", "1"),
        ("- cannot be used: several frames in one file", "1", "1", "0", "0"),
        ("- cannot be used: of tomorrow", "1", "1", "0", "0"),
        ("used", "2", "1", "1", "0"),
        ("of these, with a note on how they were read", "1", "0", "1", "0"),
        ("patients known by an id", "1", "1", "1", "0"),
    )


def test_sources_by_class() -> None:
    assert source_table(samples(), ("a", "b")).rows == (("s1", "1", "1", "0"), ("s2", "1", "0", "1"))
