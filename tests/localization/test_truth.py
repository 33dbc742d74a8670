"""Which box and which mask belong to which image; what is ambiguous or odd is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from magsd_cli.errors import UsageError
from magsd_cli.localization.truth import read_mask, read_truth
from magsd_cli.localization.zones import ZoneScores

HEAD = "path,label,x,y,width,height\n"


def _boxes(folder: Path, *rows: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "boxes.csv").write_text(HEAD + "".join(row + "\n" for row in rows))
    return folder / "boxes.csv"


def test_paths_beside_the_table(tmp_path: Path) -> None:
    table = _boxes(tmp_path, "a/x.png,P,1,2,3,4", "a/x.png,P,5,6,7.5,8", "a/gone.png,P,1,1,1,1")
    files = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    found = read_truth(files, table, None)
    assert list(found) == files[:1]
    assert found[files[0]].boxes == ((1, 2, 3, 4), (5, 6, 7.5, 8))
    assert found[files[0]].label == "P"


def test_the_end_of_a_path_and_a_unique_name(tmp_path: Path) -> None:
    table = _boxes(tmp_path / "elsewhere", "a/x.png,P,1,2,3,4", "a/b/c/y.png,P,1,2,3,4")
    files = [tmp_path / "copy" / "a" / "x.png", tmp_path / "copy" / "y.png"]
    assert list(read_truth(files, table, None)) == files


def test_a_name_that_two_rows_share_is_not_guessed(tmp_path: Path) -> None:
    table = _boxes(tmp_path / "elsewhere", "a/x.png,P,1,2,3,4", "b/x.png,P,1,2,3,4")
    assert read_truth([tmp_path / "x.png"], table, None) == {}


def test_a_row_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    table = _boxes(tmp_path / "elsewhere", "x.png,P,1,2,3,4")
    with pytest.raises(UsageError, match=r"row 2: x\.png matches 2 of the images"):
        read_truth([tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"], table, None)


@pytest.mark.parametrize("numbers", ["1,2,0,4", "1,2,3,-4", "1,2,nan,4", "1,x,3,4", "inf,2,3,4"])
def test_numbers_that_are_no_box_are_refused(tmp_path: Path, numbers: str) -> None:
    table = _boxes(tmp_path, f"x.png,P,{numbers}")
    with pytest.raises(UsageError, match="row 2"):
        read_truth([tmp_path / "x.png"], table, None)


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("path,x,y\n")
    with pytest.raises(UsageError, match="column"):
        read_truth([tmp_path / "x.png"], tmp_path / "boxes.csv", None)


def _mask(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def test_masks_by_the_name_of_the_image(tmp_path: Path) -> None:
    mask = _mask(tmp_path / "masks" / "COVID" / "x.png", np.zeros((2, 2), np.uint8))
    files = [tmp_path / "x.jpg", tmp_path / "y.jpg"]
    found = read_truth(files, None, tmp_path / "masks")
    assert {path: truth.mask for path, truth in found.items()} == {files[0]: mask}


def test_masks_that_fit_two_images_are_refused(tmp_path: Path) -> None:
    _mask(tmp_path / "masks" / "x.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match="2 images and 1 mask;"):
        read_truth([tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg"], None, tmp_path / "masks")
    with pytest.raises(UsageError, match="is not a folder"):
        read_truth([tmp_path / "x.jpg"], None, tmp_path / "nowhere")


def test_a_mask_is_what_is_bright(tmp_path: Path) -> None:
    path = _mask(tmp_path / "x.png", np.array([[0, 127], [128, 255]], np.uint8))
    np.testing.assert_array_equal(read_mask(path, (2, 2)), [[False, False], [True, True]])
    with pytest.raises(UsageError, match="the mask is 2x2, its image 5x4 pixels"):
        read_mask(path, (4, 5))
    (tmp_path / "bad.png").write_text("no")
    with pytest.raises(UsageError, match="not a picture"):
        read_mask(tmp_path / "bad.png", (2, 2))
    with pytest.raises(UsageError, match="cannot be read"):
        read_mask(tmp_path / "gone.png", (2, 2))


READERS = (
    ",".join(["path", *(f"{reader}_{zone}" for reader in ("senior", "junior") for zone in "ABCDEF")]) + "\n"
)


def _zones(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zones.csv").write_text(text)
    return folder / "zones.csv"


def test_zones_of_one_reader_and_of_two(tmp_path: Path) -> None:
    files = [tmp_path / "x.png", tmp_path / "y.png", tmp_path / "z.png"]
    table = _zones(tmp_path, "path,A,B,C,D,E,F\nx.png,0,1,2,3,0,1.5\nelsewhere.png,1,1,1,1,1,1\n")
    found = read_truth(files, None, None, None, table)
    assert list(found) == files[:1]
    assert found[files[0]].zones == ZoneScores({"": (0, 1, 2, 3, 0, 1.5)})
    rows = ("x.png,0,1,2,3,0,1,1,1,1,1,1,1", "y.png,0,1,2,3,0,1,,1,1,1,1,1", "z.png" + "," * 12)
    table = _zones(tmp_path, READERS + "\n".join(rows))
    found = read_truth(files, None, None, None, table)
    assert found[files[0]].zones == ZoneScores({"senior": (0, 1, 2, 3, 0, 1), "junior": (1, 1, 1, 1, 1, 1)})
    assert found[files[1]].zones == ZoneScores({"senior": (0, 1, 2, 3, 0, 1)})  # the other left one out
    assert files[2] not in found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,A,B,C,D,E\nx.png,0,1,2,3,0\n", "row 2: column f is missing"),
        ("path,severity\nx.png,3\n", "row 2: no scores"),
        ("path,A,B,C,D,E,F\nx.png,0,1,2,3,0,much\n", "row 2: much is no score"),
        ("path,A,B,C,D,E,F\nx.png,0,1,2,3,0,-1\n", "row 2: -1 is no score"),
        ("path,A,B,C,D,E,F\nx.png,0,1,2,3,0,inf\n", "row 2: inf is no score"),
        ("path,A,B,C,D,E,F\nx.png,0,1,2,3,0,1\nx.png,0,1,2,3,0,1\n", "row 3: x.png stands twice"),
    ],
)
def test_scores_that_are_none_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_truth([tmp_path / "x.png"], None, None, None, _zones(tmp_path, text))
