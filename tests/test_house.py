"""The rules of the house: imports run one way, no room is too big, the command line answers without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "magsd_cli"
MOST_OF_THE_CODE = 0.15  # of the package's lines in one room
MOST_FILES = 14  # with code, directly in one folder
LEAVES = {"errors", "console", "settings", "recipe", "hashing"}
MAY_IMPORT = {  # a room -> the rooms that it may import, besides itself; one step lower each line
    "errors": set(),
    "console": set(),
    "settings": set(),
    "hashing": set(),
    "recipe": {"errors"},
    "metrics": {"errors"},
    "runtime": {"errors", "console"},
    "render": {"console"},
    "lungs": LEAVES,
    "data": LEAVES | {"lungs"},
    "models": LEAVES,
    "method": LEAVES | {"models"},
    "artifacts": LEAVES,
    "preparation": LEAVES | {"runtime", "data", "artifacts"},
    "inference": LEAVES | {"runtime", "metrics", "data", "models", "method", "artifacts"},
    "localization": LEAVES | {"runtime", "metrics", "render", "data", "artifacts", "inference"},
    "hospital": LEAVES | {"runtime", "data", "artifacts", "inference", "localization"},
    "evaluation": LEAVES | {"metrics", "data", "models", "artifacts", "inference", "localization"},
    "export": LEAVES | {"metrics", "data", "method", "artifacts", "inference", "evaluation"},
    "report": LEAVES | {"metrics", "render", "artifacts", "evaluation", "localization"},
    "report/sections": LEAVES | {"metrics", "render", "evaluation", "localization"},
    "training": LEAVES
    | {"runtime", "data", "models", "method", "artifacts", "inference", "evaluation", "export"}
    | {"lungs", "metrics"},  # `magsd lungs train` makes and measures what lungs/ reads
}
JOBS = set(MAY_IMPORT) - {"report/sections"}
MAY_IMPORT |= {
    "tools": JOBS,
    "commands": JOBS | {"tools"},  # at module level less, see below
    "api": JOBS,
    "cli": LEAVES | {"commands"},
    "__main__": {"cli"},
}


def _room(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    if inside.parts[:2] == ("report", "sections"):
        return "report/sections"
    return inside.parts[0].removesuffix(".py")


def _imported_rooms(path: Path, at_once: bool = False) -> set[str]:
    """The rooms that `path` imports; `at_once`: at module level alone, not in function bodies."""
    modules: list[str] = []
    tree = ast.parse(path.read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "magsd_cli":
                modules += [f"magsd_cli.{alias.name}" for alias in node.names]
            else:
                modules.append(node.module)
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return {m.split(".")[1] for m in modules if m.startswith("magsd_cli.")} - {"__version__"}


def test_imports_run_one_way() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = _room(path)
        if room == "__init__":
            continue
        strangers = _imported_rooms(path) - MAY_IMPORT[room] - {room.split("/")[0]}
        assert not strangers, f"{path.relative_to(PACKAGE)} imports {strangers}"


def test_a_command_imports_its_job_when_it_is_run() -> None:
    for path in sorted((PACKAGE / "commands").glob("*.py")):
        at_once = _imported_rooms(path, at_once=True) - LEAVES - {"artifacts", "commands"}
        assert not at_once, f"{path.name} imports {at_once} at module level; move it into the function"


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_room_is_too_big() -> None:
    everything = sum(map(_lines, PACKAGE.rglob("*.py")))
    for room in (path for path in PACKAGE.rglob("*") if path.is_dir()):  # a sub-room is a room
        share = sum(map(_lines, room.glob("*.py"))) / everything
        assert share <= MOST_OF_THE_CODE, (
            f"{room.relative_to(PACKAGE)} has {share:.0%} of the lines; split it"
        )


def _has_code(path: Path) -> bool:
    """Whether a file has more than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


def test_no_folder_has_too_many_files() -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        files = sum(map(_has_code, folder.glob("*.py")))
        assert files <= MOST_FILES, f"{folder.relative_to(PACKAGE)} has {files} files; split it"


def test_every_room_has_its_row() -> None:
    rooms = {_room(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms <= set(MAY_IMPORT)


def test_the_import_graph_has_no_cycle() -> None:
    graph = {p: _imported_files(p) for p in PACKAGE.rglob("*.py")}
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, f"cycle: {[p.name for p in (*trail, path)]}"
        if path in done:
            return
        for following in graph.get(path, ()):
            visit(following, (*trail, path))
        done.add(path)

    for path in graph:
        visit(path, ())


def _imported_files(path: Path) -> list[Path]:
    """Files of the package that `path` imports when it is itself imported (module level only)."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("magsd_cli."):
            base = PACKAGE.joinpath(*str(node.module).split(".")[1:])
            found += [
                p
                for p in (base.with_suffix(".py"), *(base / f"{a.name}.py" for a in node.names))
                if p.is_file()
            ]
    return found


def test_help_does_not_import_the_heavy_libraries() -> None:
    script = """
import sys
from magsd_cli.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = set("torch torchvision pandas cv2 h5py matplotlib sklearn pyarrow numpy pydantic".split())
print("HEAVY", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "prepare" in done.stdout
    assert "HEAVY []" in done.stdout
