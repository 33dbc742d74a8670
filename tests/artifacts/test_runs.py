import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from magsd_cli.artifacts.files import check_hash, hash_sidecar, hashed_path, record_hash
from magsd_cli.artifacts.runs import (
    Run,
    create_run,
    find_newest_run,
    folds_path,
    metrics_path,
    name_path,
    open_run,
    predictions_path,
    recipe_path,
    run_file,
    write_json_hashed,
)
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.recipe import Recipe, recipe_from_values
from magsd_cli.settings import Preprocessing

FOLDS = pd.DataFrame({"index": [0, 1], "image_id": ["x", "y"], "fold": [0, 1]})


def a_run(path: Path, **changes) -> Run:
    run = Run(
        path=path, kind="cv", recipe=Recipe(seed=3), classes=("a", "b"), cache_path=Path("/c.h5"),
        cache_digest="d" * 64, preprocessing=Preprocessing(64), fold_count=2, trained=(0, 1),
        threads=1,
    )  # fmt: skip
    return replace(run, **changes)


def test_a_run_is_found_again_as_it_was(tmp_path):
    run = create_run(a_run(tmp_path / "r"), FOLDS)
    assert open_run(tmp_path / "r") == run
    assert run.folds().equals(FOLDS)
    assert not run.complete


def test_the_same_run_again_changes_nothing(tmp_path):
    create_run(a_run(tmp_path / "r"), FOLDS)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "r").iterdir()}
    create_run(a_run(tmp_path / "r"), FOLDS)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "r").iterdir()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": recipe_from_values({"seed": 3, "train": {"lr": 0.5}}, "x")}, r"train\.lr 0\.01 -> 0\.5"),
        ({"cache_digest": "e" * 64}, "cache_digest d+ -> e+"),
        ({"fold_count": 5}, "fold_count 2 -> 5"),
        ({"kind": "train"}, "kind cv -> train"),
    ],
)
def test_other_settings_are_refused_and_shown(tmp_path, change, words):
    create_run(a_run(tmp_path / "r"), FOLDS)
    with pytest.raises(ArtifactError, match=words):
        create_run(a_run(tmp_path / "r", **change), FOLDS)


def test_other_folds_are_refused(tmp_path):
    create_run(a_run(tmp_path / "r"), FOLDS)
    with pytest.raises(ArtifactError, match="folds"):
        create_run(a_run(tmp_path / "r"), FOLDS.assign(fold=[1, 0]))


def test_a_new_title_is_the_same_recipe(tmp_path):
    create_run(a_run(tmp_path / "r"), FOLDS)
    create_run(a_run(tmp_path / "r", recipe=Recipe(seed=3, title="renamed")), FOLDS)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"thesis\.txt"):
        create_run(a_run(tmp_path / "r"), FOLDS)
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("file", [run_file, recipe_path, folds_path])
@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_damage_is_noticed(tmp_path, file, damage):
    run = create_run(a_run(tmp_path / "r"), FOLDS)
    path = file(run.path)
    if damage == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    with pytest.raises(ArtifactError):
        open_run(run.path).folds()


@pytest.mark.parametrize("change", [{"schema_version": 99}, {"cache": None}, {"classes": None}])
def test_a_run_file_that_cannot_be_is_refused(tmp_path, change):
    run = create_run(a_run(tmp_path / "r"), FOLDS)
    write_json_hashed(run_file(run.path), json.loads(run_file(run.path).read_text()) | change)
    with pytest.raises(ArtifactError):
        open_run(run.path)


def test_a_recipe_of_a_later_version_is_refused(tmp_path):
    run = create_run(a_run(tmp_path / "r"), FOLDS)
    write_json_hashed(recipe_path(run.path), {"train": {"teleport": True}})
    with pytest.raises(ArtifactError, match="teleport"):
        open_run(run.path)


def test_the_newest_finished_run_is_found(tmp_path):
    with pytest.raises(ArtifactError, match="no finished run"):
        find_newest_run(tmp_path)
    for seconds, (name, kind) in enumerate([("b", "cv"), ("a", "train"), ("unfinished", "cv")]):
        run = create_run(a_run(tmp_path / name, kind=kind), FOLDS)
        predictions_path(run.path).touch()
        if name != "unfinished":
            metrics_path(run.path).touch()
            os.utime(metrics_path(run.path), (seconds, seconds))
    assert find_newest_run(tmp_path).name == "a"


@pytest.mark.parametrize("name", ["", "a/b", "..", "cache", "x y", ".hidden"])
def test_names_that_are_no_folder_names(tmp_path, name):
    with pytest.raises(UsageError, match="--name"):
        name_path(tmp_path, name)


def test_a_replacement_cut_short_leaves_a_true_hash(tmp_path):
    path = tmp_path / "x"
    for text in ("old", "new"):
        with hashed_path(path) as temporary:
            temporary.write_text(text)
    assert hash_sidecar(path).read_text().count("\n") == 1
    new = check_hash(path)
    # Killed between writing both hashes and renaming: the old content is still there, and still true.
    path.write_text("old")
    old = record_hash(path)
    hash_sidecar(path).write_text(f"{new}  x\n{old}  x\n")
    assert check_hash(path) == old
