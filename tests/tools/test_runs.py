"""`magsd runs`: what it lists and compares, and that it removes what nothing needs and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny_cache import write_tiny_cache
from tiny_run import TRAINING_KEYS

from magsd_cli.artifacts.files import hash_sidecar, lock
from magsd_cli.artifacts.runs import (
    expected_files,
    fold_predictions_path,
    lock_path,
    open_run,
    state_mark_path,
    state_path,
)
from magsd_cli.console import in_bytes
from magsd_cli.errors import ArtifactError, LockedError, OutputError, UsageError
from magsd_cli.recipe import load_recipe
from magsd_cli.tools.runs import ago, compare_two, list_lines, list_runs, show_run
from magsd_cli.tools.runs_clean import find_waste, remove_run, remove_waste, runs_to_remove
from magsd_cli.tools.verify import verify
from magsd_cli.training import fold as fold_module
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv

pytestmark = pytest.mark.usefixtures("one_thread")


def options(runs: Path, *keys: str, **more: object) -> RunOptions:
    cache = next((runs / "cache").glob("tiny-*.h5"))
    recipe = load_recipe("base", [*TRAINING_KEYS, "train.epochs=1", *keys])
    return RunOptions(runs, cache, recipe, folds=2, device="cpu", **more)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A runs folder with a run that keeps its states as earlier versions did, one that does not, a cache."""
    runs = tmp_path_factory.mktemp("made") / "runs"
    write_tiny_cache(runs / "cache", count=12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGSD_KEEP_STATE", "1")
        cv(options(runs, name="kept"))
    cv(options(runs, "train.lr=0.02", name="lean"))
    return runs


@pytest.fixture
def runs(made, tmp_path) -> Path:
    """A copy of `made`, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "runs", copy_function=copy_or_link))


def copy_or_link(source: str, target: str) -> None:
    """Weights and states are large, and only ever replaced or removed: a link is enough."""
    if source.endswith((".safetensors", ".pt")):
        Path(target).hardlink_to(source)
    else:
        shutil.copy2(source, target)


def magsd(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "magsd_cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def states(run: Path) -> list[Path]:
    return sorted(run.glob("fold*/state.pt*"))


def test_a_finished_fold_keeps_a_state_only_where_asked(made):
    assert len(states(made / "kept")) == 4  # two states, two hashes
    assert states(made / "lean") == []
    assert not list((made / "lean").rglob(".state*"))
    for name in ("kept", "lean"):
        assert verify(made / name) == 0
        assert all(path.is_file() for path in expected_files(open_run(made / name)))


def test_both_can_be_resumed(made):
    for name in ("kept", "lean"):
        before = (made / name / "metrics.json").read_bytes()
        assert cv(RunOptions(made, resume=made / name, device="cpu")) == made / name
        assert (made / name / "metrics.json").read_bytes() == before
    assert len(states(made / "kept")) == 4


def test_a_kill_before_the_state_is_removed(made, tmp_path, monkeypatch):
    """The fold's predictions are on disk by then; the next start removes the state and trains nothing."""
    runs = tmp_path / "runs"
    shutil.copytree(made / "cache", runs / "cache")

    class Killed(BaseException):
        pass

    def killed(run: Path, fold: int) -> None:
        assert hash_sidecar(fold_predictions_path(run, fold)).is_file()
        assert fold_predictions_path(run, fold).is_file()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(fold_module, "remove_state", killed)
        with pytest.raises(Killed):
            cv(options(runs, "train.lr=0.02", name="lean"))
    assert len(states(runs / "lean")) == 2
    assert state_mark_path(runs / "lean", 0).exists()
    assert verify(runs / "lean") == 0
    cv(options(runs, "train.lr=0.02", name="lean"))
    assert states(runs / "lean") == []
    assert not state_mark_path(runs / "lean", 0).exists()
    for name in ("predictions.parquet", "metrics.json", "fold0/weights.safetensors"):
        assert (runs / "lean" / name).read_bytes() == (made / "lean" / name).read_bytes()


def test_a_kill_between_hash_and_state_leaves_no_problem(runs):
    hash_sidecar(state_path(runs / "kept", 0)).unlink()
    assert verify(runs / "kept") == 0


def test_list(runs):
    (runs / "notes").mkdir()  # a stranger
    (runs / "broken/fold0").mkdir(parents=True)
    (runs / "cut").mkdir()
    (runs / "cut/run.json").write_text("{")
    shutil.copytree(runs / "lean", runs / "half", copy_function=copy_or_link)
    for name in ("metrics.json", "predictions.parquet", "fold1/predictions.parquet"):
        (runs / "half" / name).unlink()
    found = {one.name: one for one in list_runs(runs)}
    assert set(found) == {"broken", "cut", "half", "kept", "lean"}
    mean = json.loads((runs / "kept/metrics.json").read_text())["mean"]["accuracy"]
    assert found["kept"].accuracy == mean
    assert (found["kept"].kind, found["kept"].state) == ("cv", "complete")
    sizes = [path.stat().st_size for path in (runs / "kept").rglob("*") if path.is_file()]
    assert found["kept"].size == sum(sizes)
    assert found["half"].state == "1 of 2 folds"
    assert "--resume" in found["half"].reason
    assert found["broken"].state == found["cut"].state == "damaged"
    with lock(lock_path(runs / "lean")):
        assert {one.name: one.state for one in list_runs(runs)}["lean"] == "in use"
    lines = list_lines(list(found.values()), runs)
    assert lines[0].split()[:3] == ["name", "kind", "recipe"]
    assert lines[-1].startswith("5 entries")
    assert f"{mean:.1%}" in next(line for line in lines if line.startswith("kept"))


def test_list_of_nothing(tmp_path):
    assert list_runs(tmp_path / "none") == []
    assert "magsd cv" in list_lines([], tmp_path)[0]


def test_show(made):
    text = "\n".join(show_run(made / "kept", made))
    for words in ("train.epochs 100 -> 1", "bright, dark", "training state:", "12 of 64 px", "accuracy:"):
        assert words in text
    assert "training state:" not in "\n".join(show_run(made / "lean", made))


def test_compare(made):
    text = "\n".join(compare_two(made / "kept", made / "lean"))
    assert "train.lr 0.01 -> 0.02" in text
    ours, theirs = (json.loads((made / name / "metrics.json").read_text()) for name in ("kept", "lean"))
    row = next(line for line in text.splitlines() if line.startswith("accuracy"))
    low, high = ours["pooled_intervals"]["accuracy"]
    assert f"{100 * ours['pooled']['accuracy']:.1f} [{100 * low:.1f} to {100 * high:.1f}]" in row
    difference = 100 * (theirs["pooled"]["accuracy"] - ours["pooled"]["accuracy"])
    assert f"{difference:+.1f} [" in row
    same = "\n".join(compare_two(made / "kept", made / "kept"))
    assert "none" in same
    assert "+0.0 [+0.0 to +0.0]" in same


def test_compare_with_an_unfinished_run(runs):
    (runs / "lean/metrics.json").unlink()
    text = "\n".join(compare_two(runs / "kept", runs / "lean"))
    assert "train.lr 0.01 -> 0.02" in text
    assert "lean: 2 of 2 folds" in text


def test_clean_takes_states_and_unused_caches_alone(runs):
    os.utime(next((runs / "cache").glob("tiny-*.h5")), (1, 1))
    used = set((runs / "cache").iterdir())
    unused = write_tiny_cache(runs / "cache", count=12, seed=1)
    os.utime(unused, (2, 2))
    newest = write_tiny_cache(runs / "cache", count=12, seed=2)
    left = runs / ".removed-old-1"
    left.mkdir()
    (left / "weights").write_bytes(b"x" * 100)
    before = sum(path.stat().st_size for path in runs.rglob("*") if path.is_file())
    waste = find_waste(runs)
    assert {removal.run for removal in waste if removal.run} == {runs / "kept"}
    assert len([removal for removal in waste if unused in removal.paths]) == 1
    freed = remove_waste(waste)
    assert freed > 2000
    sidecars = before - sum(path.stat().st_size for path in runs.rglob("*") if path.is_file()) - freed
    assert 0 <= sidecars < 1000  # the states' hashes are not counted
    assert used <= set((runs / "cache").iterdir())
    assert newest.is_file()
    assert not unused.exists()
    assert not left.exists()
    assert states(runs / "kept") == []
    for name in ("kept", "lean"):
        assert verify(runs / name) == 0
        cv(RunOptions(runs, resume=runs / name, device="cpu"))
    assert find_waste(runs) == []


def test_clean_without_caches(runs):
    write_tiny_cache(runs / "cache", count=12, seed=1)
    write_tiny_cache(runs / "cache", count=12, seed=2)
    assert all(removal.run for removal in find_waste(runs, caches=False))


def test_clean_leaves_unfinished_and_busy_runs_alone(runs):
    (runs / "kept/fold1/predictions.parquet").unlink()
    assert [removal.fold for removal in find_waste(runs)] == [0]
    with lock(lock_path(runs / "kept")):
        assert find_waste(runs) == []


def test_a_damaged_run_keeps_all_caches(runs, capsys):
    write_tiny_cache(runs / "cache", count=12, seed=1)
    write_tiny_cache(runs / "cache", count=12, seed=2)
    (runs / "lean/run.json").write_text("{")
    assert all(removal.run for removal in find_waste(runs))
    assert "all caches are kept" in capsys.readouterr().err


def test_rm(runs, tmp_path):
    with pytest.raises(ArtifactError, match="no run of that name"):
        runs_to_remove([Path("other")], runs)
    with lock(lock_path(runs / "lean")), pytest.raises(LockedError, match="in use"):
        runs_to_remove([Path("lean")], runs)
    (removal,) = runs_to_remove([Path("lean")], runs)
    remove_run(removal.paths[0])
    assert not (runs / "lean").exists()
    assert (runs / "kept/run.json").is_file()
    assert not list(runs.glob(".removed*"))
    (runs / "link").symlink_to(runs / "kept")
    with pytest.raises(UsageError, match="link"):
        runs_to_remove([Path("link")], runs)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove anything")
def test_rm_where_it_cannot(runs):
    runs.chmod(0o500)
    with pytest.raises(OutputError, match="permissions"):
        remove_run(runs / "lean")
    runs.chmod(0o700)


def test_the_command_asks_and_says_how_much(runs):
    asked = magsd("runs", "clean", "--runs", runs)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert len(states(runs / "kept")) == 4
    done = magsd("runs", "clean", "--yes", "--runs", runs)
    assert (done.returncode, done.stdout) == (0, "")
    assert "freed" in done.stderr
    assert states(runs / "kept") == []
    assert "nothing to clean" in magsd("runs", "clean", "--runs", runs).stderr
    assert magsd("runs", "rm", "lean", "--runs", runs).returncode == 2
    assert magsd("runs", "rm", "lean", "--yes", "--runs", runs).returncode == 0
    (row,) = json.loads(magsd("runs", "list", "--json", "--runs", runs).stdout)
    assert row["name"] == "kept"


def test_reading_needs_no_torch(made):
    script = f"""
import sys
from magsd_cli.cli import main
for words in (["list"], ["show", "lean"], ["compare", "kept", "lean"]):
    try:
        main(["runs", *words, "--runs", {str(made)!r}])
    except SystemExit as end:
        assert end.code == 0, end.code
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_words():
    assert [in_bytes(n) for n in (0, 999, 1000, 12_345_678, 10**15)] == [
        "0 B", "999 B", "1.0 kB", "12.3 MB", "1000.0 TB",
    ]  # fmt: skip
    assert [ago(n) for n in (5, 119, 3600, 7200, 10**6)] == ["5 s", "119 s", "60 min", "2 h", "12 d"]


def test_the_table_of_one_run_is_data(made):
    assert isinstance(pd.DataFrame(list_runs(made))["size"].iloc[0].item(), int)
