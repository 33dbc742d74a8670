"""A suite: several recipes, or repeats of one, on one cache. ``suite.json`` says which run each row is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from magsd_cli.artifacts.files import check_hash, read_json
from magsd_cli.artifacts.runs import write_json_hashed
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.recipe import recipe_names, recipes_folder

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class SuiteRow:
    """A recipe of a suite, or one of its repeats: name and title, the paper's row that it names, and its run.

    `run` is the run's folder name beside the suite's (None: not begun); rows whose recipes differ in nothing
    share one. `problem` is why the row could not be run. `repeat` counts from 0; None where there are no
    repeats.
    """

    recipe: str
    title: str
    table: int | None = None
    row: str | None = None
    run: str | None = None
    problem: str | None = None
    repeat: int | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Recipe and repeat, by which the row differs from the others of its suite."""
        return self.recipe, self.repeat or 0

    @property
    def words(self) -> str:
        """The row as messages name it."""
        return self.recipe if self.repeat is None else f"{self.recipe}, repeat {self.repeat + 1}"


def is_suite(names: Sequence[str]) -> bool:
    """Return whether these ``--recipe`` values are several recipes: more than one, or a folder of recipes."""
    return len(names) > 1 or any(_folder(name) is not None for name in names)


def expand(names: Sequence[str]) -> list[str]:
    """Return the recipes that `names` mean, each once: recipes as they are, folders as the recipes in them.

    Raises `UsageError` for a folder without recipes.
    """
    found: list[str] = []
    for name in names:
        folder = _folder(name)
        if folder is None:
            found.append(name)
            continue
        inside = [str(path) for path in sorted(folder.rglob("*.toml"))]
        if folder.is_relative_to(recipes_folder()):
            start = folder.relative_to(recipes_folder()).as_posix()
            inside = [known for known in recipe_names() if known.startswith(f"{start}/")]
        if not inside:
            raise UsageError(f"--recipe {name}: no recipe (*.toml) in this folder; name another one")
        found += inside
    return list(dict.fromkeys(found))


def _folder(name: str) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    built_in = recipes_folder() / name
    return built_in if name and built_in.is_dir() else None


def suite_file(folder: Path) -> Path:
    """Return the path of ``suite.json``."""
    return folder / "suite.json"


def write_suite(folder: Path, rows: Sequence[SuiteRow], command: Sequence[str]) -> None:
    """Write ``suite.json`` of the suite in `folder`, with the command line that made it."""
    value = {
        "schema_version": SCHEMA_VERSION,
        "command": list(command),
        "rows": [_values(row) for row in rows],
    }
    write_json_hashed(suite_file(folder), value)


def _values(row: SuiteRow) -> dict[str, str | int | None]:
    """The row's fields; `repeat` only where there are repeats, as files of earlier versions have none."""
    values = asdict(row)
    if row.repeat is None:
        del values["repeat"]
    return values


def read_suite(folder: Path) -> tuple[list[SuiteRow], list[str]]:
    """The rows of the suite in `folder` and its command line.

    Raises `ArtifactError` when it is damaged or of another version.
    """
    path = suite_file(folder)
    check_hash(path)
    value = read_json(path)
    try:
        if value["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path}: is of version {value['schema_version']}; use the magsd that wrote it"
            )
        return [SuiteRow(**row) for row in value["rows"]], [str(word) for word in value["command"]]
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: is not a suite ({error}); run the suite again") from error
