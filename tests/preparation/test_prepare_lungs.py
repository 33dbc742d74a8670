"""`magsd prepare --lungs`: what is cached, what is said, and that nothing changes without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from tiny_lungs import draw_film, write_lungs

from magsd_cli.artifacts.cache import (
    FRAME_COLUMNS,
    SAMPLE_COLUMNS,
    cache_lungs_path,
    dataset_digest,
    open_cache,
    read_samples,
)
from magsd_cli.artifacts.cache_truth import read_masks
from magsd_cli.artifacts.files import check_hash
from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.data.film import LUNGS_NOT_FOUND
from magsd_cli.errors import ArtifactError, UsageError
from magsd_cli.preparation.dry_run import dry_run
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.settings import Lungs, Preprocessing

FILMS = 6


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Films of two classes with masks of their lungs; the last one has a single lung."""
    rows = ["path,label,patient_id"]
    for number in range(FILMS):
        film, mask = draw_film(number, 150, 120 + 10 * number, 1 if number == FILMS - 1 else 2)
        for folder, picture in (("images", film), ("lung_masks/images", mask)):
            path = tmp_path / "films" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
        rows.append(f"images/{number}.png,{'ab'[number % 2]},p{number}")
    (tmp_path / "films" / "metadata.csv").write_text("\n".join(rows) + "\n")
    write_lungs(tmp_path / "dark.lungs")
    return tmp_path


def options(films: Path, lungs: Lungs, **changes: Any) -> PrepareOptions:
    file = None if lungs == Lungs.none else films / "dark.lungs"
    settings = Preprocessing(64, lungs=lungs, lung_file=file)
    return PrepareOptions([films / "films"], films / "runs", preprocessing=settings, workers=1, **changes)


def test_films_are_cut_and_the_table_says_where(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, code = prepare(options(films, Lungs.crop))
    assert code == 0
    assert f"1 of {FILMS} films kept whole: two lungs were not found" in capsys.readouterr().err
    cache, samples = open_cache(path), read_samples(path)
    assert (cache.preprocessing.lungs, len(cache.preprocessing.lung_network)) == (Lungs.crop, 64)
    assert check_hash(cache_lungs_path(path)) == cache.preprocessing.lung_network
    for number, row in samples.iterrows():
        film = cv2.imread(row["path"], cv2.IMREAD_GRAYSCALE)
        assert film is not None
        part: Any = film
        if number == FILMS - 1:
            assert samples[list(FRAME_COLUMNS)].loc[number].isna().all()
            assert list(row["warnings"]) == [LUNGS_NOT_FOUND]
        else:
            x, y, width, height = (int(row[name]) for name in FRAME_COLUMNS)
            part = film[y : y + height, x : x + width]
            assert len(row["warnings"]) == 0
        expected = prepare_pixels(np.ascontiguousarray(part), Preprocessing(64))
        np.testing.assert_array_equal(cache.images[number, 0], expected)
    with h5py.File(path) as file:
        assert file.attrs["schema_version"] == 2  # a version that knows no lungs refuses it
    # The masks of the sources are cut with their films.
    masks = read_masks(path)
    assert masks is not None
    assert [(masks.masks[i] > 0).mean() > 0.35 for i in range(FILMS - 1)] == [True] * (FILMS - 1)
    assert (masks.masks[FILMS - 1] > 0).mean() < 0.2
    assert prepare(options(films, Lungs.crop))[0] == path
    assert "nothing is left to do" in capsys.readouterr().err


def test_each_setting_and_network_is_another_cache(films: Path) -> None:
    paths = {prepare(options(films, lungs))[0] for lungs in Lungs}
    write_lungs(films / "dark.lungs", {0: draw_film(77)[0]})
    paths.add(prepare(options(films, Lungs.crop))[0])
    assert len(paths) == 4


def test_without_lungs_hashes_and_attributes_are_what_they_were(films: Path) -> None:
    path, _ = prepare(options(films, Lungs.none))
    assert not cache_lungs_path(path).exists()
    assert list(read_samples(path).columns) == list(SAMPLE_COLUMNS)
    with h5py.File(path) as file:
        assert set(file.attrs) == {
            "classes", "schema_version", "source_digest", "dataset_sha256", "size", "clahe", "clip_limit",
            "tiles",
        }  # fmt: skip
        assert file.attrs["schema_version"] == 1
    # The digest of commit a184d58, before there were lungs.
    samples = [dict.fromkeys(SAMPLE_COLUMNS, "") | {"index": 0, "sha256": "f" * 64}]
    digest = dataset_digest(samples, Preprocessing(), ("a", "b"))
    assert digest == "72f78cea123cd5e2d1eb7cc48fb6667380e9a7b75775ea8dfb2d623667397801"


def test_what_is_refused(films: Path) -> None:
    alone = Preprocessing(64, lung_file=films / "dark.lungs")
    with pytest.raises(UsageError, match="belongs to --lungs crop"):
        prepare(PrepareOptions([films / "films"], films / "runs", preprocessing=alone))
    (films / "dark.lungs").write_text("broken")
    with pytest.raises(ArtifactError, match="no lung network"):
        prepare(options(films, Lungs.crop))


def test_a_dry_run_cuts_films_too(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(options(films, Lungs.mask))
    assert "nothing was written" in capsys.readouterr().err
    path, _ = prepare(options(films, Lungs.mask))
    dry_run(options(films, Lungs.mask))
    assert f"{path}: this cache is finished already" in capsys.readouterr().err
