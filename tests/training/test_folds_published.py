"""Published splits are taken as they are, or refused with the row."""

from __future__ import annotations

from pathlib import Path

import pytest

from magsd_cli.errors import UsageError
from magsd_cli.training.folds import read_splits

IDS = ["a/1.png", "a/2.png", "b/2.png", "b/3.png"]
GROUPS = ["p", "p", "", ""]


def write(folder: Path, text: str) -> Path:
    path = folder / "splits.csv"
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "image_id,fold\na/1.png,10\na/2.png,10\nb/2.png,9\n3.png,2\n")
    assert read_splits(path, IDS, GROUPS).tolist() == [2, 2, 1, 0]


def test_the_fold_called_test_is_the_first(tmp_path: Path) -> None:
    path = write(tmp_path, "fold,image_id\na-train,1.png\na-train,a/2.png\ntest,b/2.png\na-train,b/3.png\n")
    assert read_splits(path, IDS, GROUPS).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image_id,group\na/1.png,0\n", "no column fold"),
        ("image_id,fold\na/1.png,0\na/1.png,0\n", "row 3: 'a/1.png' is listed twice"),
        ("image_id,fold\nzzz,0\n", "row 2: 'zzz' is not a labelled image"),
        ("image_id,fold\n2.png,0\n", "several images"),
        ("image_id,fold\na/1.png,0\n", "3 images without a row"),
        ("image_id,fold\na/1.png,\n", "row 2: an image_id and a fold"),
        ("image_id,fold\na/1.png,0\na/2.png,1\nb/2.png,0\nb/3.png,0\n", "row 3: .*same patient"),
        ("image_id,fold\na/1.png,0\na/2.png,0\nb/2.png,0\nb/3.png,0\n", "one fold only"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_splits(write(tmp_path, text), IDS, GROUPS)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_splits(tmp_path / "none.csv", IDS, GROUPS)
