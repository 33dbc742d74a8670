"""A model of films that are cut to their lungs cuts new films in the same way, wherever it is asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from test_screen_install import NOT_SCREENING, magsd
from tiny_lungs import draw_film, lung_bytes, write_lungs
from tiny_onnx import HEAD, tiny_onnx
from tiny_run import KEYS

import magsd_cli
from magsd_cli.artifacts.cache import open_cache
from magsd_cli.artifacts.checkpoints import write_weights
from magsd_cli.artifacts.model_file import head_of, open_model_file, read_lungs, write_model_file
from magsd_cli.artifacts.operating_point import OperatingPoint
from magsd_cli.artifacts.runs import (
    Run,
    create_run,
    expected_files,
    metrics_path,
    open_run,
    predictions_path,
    run_lungs_path,
    weights_path,
    write_json_hashed,
)
from magsd_cli.artifacts.tables import LOCALIZATION, PREDICTION, read_table
from magsd_cli.data.film import LUNGS_NOT_FOUND
from magsd_cli.errors import ArtifactError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.localization.localize import LocalizeOptions, localize
from magsd_cli.models.build import build_model
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.settings import Lungs, Preprocessing
from magsd_cli.training.folds import folds_table

pytestmark = pytest.mark.usefixtures("one_thread")
FILMS = 4


@pytest.fixture(scope="module")
def site(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """films/ (the last one with a single lung) and model.magsd that crops them."""
    folder = tmp_path_factory.mktemp("site")
    for number in range(FILMS):
        film, _ = draw_film(number, 180 + 20 * number, 160, 1 if number == FILMS - 1 else 2)
        path = folder / "films" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), film)
    write_lungs(folder / "dark.lungs")
    write_model_file(folder / "model.magsd", head(), {0: tiny_onnx(9.0)}, lung_bytes())
    return folder


def head(lungs: Lungs = Lungs.crop) -> dict[str, Any]:
    made = Preprocessing(64, lungs=lungs, lung_network=sha256_bytes(lung_bytes()))
    return {**HEAD, **head_of(made)}


def rows_of(path: Path, kind: Any = PREDICTION) -> list[dict[str, Any]]:
    return list(read_table(path, kind).to_pylist())


def test_predict_and_python_crop_with_the_network_in_the_model_file(site: Path, tmp_path: Path) -> None:
    shutil.copy(site / "model.magsd", tmp_path / "m.magsd")  # alone: no run, no cache, no .lungs beside it
    out = tmp_path / "t.parquet"
    assert predict(PredictOptions([site / "films"], tmp_path / "m.magsd", tmp_path, out, workers=1)) == 0
    rows = rows_of(out)
    assert [LUNGS_NOT_FOUND in row["warnings"] for row in rows] == [
        Path(row["path"]).name == f"{FILMS - 1}.png" for row in rows
    ]
    model = magsd_cli.load(tmp_path / "m.magsd")
    films = [cv2.imread(row["path"], cv2.IMREAD_GRAYSCALE) for row in rows]
    frame = model.predict(films)
    np.testing.assert_array_equal(frame["p_a"], [np.float32(row["p_a"]) for row in rows])
    assert [list(w) for w in frame["warnings"]] == [row["warnings"] for row in rows]
    # Not the answers of the whole films.
    write_model_file(tmp_path / "whole.magsd", HEAD, {0: tiny_onnx(9.0)})
    whole = magsd_cli.load(tmp_path / "whole.magsd").predict(films)
    same = np.isclose(whole["p_a"], frame["p_a"])
    assert list(same) == [LUNGS_NOT_FOUND in row["warnings"] for row in rows]


def test_a_host_without_torch_predicts(site: Path, tmp_path: Path) -> None:
    model, out = site / "model.magsd", tmp_path / "t.parquet"
    done = magsd(NOT_SCREENING, "--runs", tmp_path, "predict", site / "films", "--model", model, "--out", out)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(out)) == FILMS


def test_boxes_masks_and_overlays_are_in_the_films_own_pixels(site: Path, tmp_path: Path) -> None:
    """Attention is the brightness of the quarters of the crop; what is marked lies inside the crop."""
    options = LocalizeOptions([site / "films"], site / "model.magsd", tmp_path, name="here", threshold=0.9)
    folder, code = localize(options)
    assert code == 0
    model = magsd_cli.load(site / "model.magsd")
    for row in rows_of(folder / "localization.parquet", LOCALIZATION):
        film = cv2.imread(row["path"], cv2.IMREAD_GRAYSCALE)
        mask = cv2.imread(str(folder / row["mask"]), cv2.IMREAD_GRAYSCALE)
        assert film is not None
        assert mask is not None
        assert mask.shape == film.shape == (row["image_height"], row["image_width"])
        if LUNGS_NOT_FOUND in row["warnings"]:
            continue
        lungs = np.argwhere(film < 100)
        (top, left), (bottom, right) = lungs.min(0), lungs.max(0)
        slack = 0.07 * np.array(film.shape)
        assert row["y"] >= top - slack[0]
        assert row["x"] >= left - slack[1]
        assert row["y"] + row["height"] <= bottom + slack[0]
        assert row["x"] + row["width"] <= right + slack[1]
        there = np.argwhere(mask > 0)
        assert (there.min(0) >= (row["y"] - 1, row["x"] - 1)).all()
        # The map of Python covers the whole film as well.
        wide = cv2.resize(model.attention(film), film.shape[::-1], interpolation=cv2.INTER_LINEAR)
        place = np.unravel_index(int(wide.argmax()), wide.shape)
        assert (top - slack[0], left - slack[1]) <= place <= (bottom + slack[0], right + slack[1])


def test_a_run_keeps_the_network_that_cut_its_films(site: Path, tmp_path: Path) -> None:
    run = write_run(site, tmp_path)
    assert run_lungs_path(run.path) in expected_files(run)
    settings = open_run(run.path).preprocessing
    assert settings == run.preprocessing
    assert settings.lung_file == run_lungs_path(run.path)
    (site / "dark.lungs").rename(tmp_path / "gone.lungs")
    try:
        out = tmp_path / "t.parquet"
        assert predict(PredictOptions([site / "films"], run.path, tmp_path, out, workers=1)) == 0
    finally:
        (tmp_path / "gone.lungs").rename(site / "dark.lungs")
    by_run = {Path(row["path"]).name: row for row in rows_of(out)}
    samples = open_cache(run.cache_path)
    assert len(samples.images) == len(by_run) == FILMS
    assert LUNGS_NOT_FOUND in by_run[f"{FILMS - 1}.png"]["warnings"]
    run_lungs_path(run.path).unlink()
    with pytest.raises(ArtifactError, match="no such lung network"):
        predict(PredictOptions([site / "films"], run.path, tmp_path, tmp_path / "u.parquet"))


def write_run(site: Path, folder: Path) -> Run:
    """A run of random networks on the films of `site`, cut by its network."""
    settings = Preprocessing(64, lungs=Lungs.crop, lung_file=site / "dark.lungs")
    path, _ = prepare(PrepareOptions([site / "films"], folder / "runs", preprocessing=settings, workers=1))
    cache = open_cache(path)
    recipe = load_recipe("base", [*KEYS, "image.lungs=crop"])
    run = Run(
        path=folder / "runs" / "tiny", kind="cv", recipe=recipe, classes=cache.classes,
        cache_path=cache.path.resolve(), cache_digest=cache.digest, preprocessing=cache.preprocessing,
        fold_count=2, trained=(0, 1), threads=1, patients_known=False,
    )  # fmt: skip
    run = create_run(run, folds_table(cache, 2, 0))
    for fold in run.trained:
        network = build_model(recipe.model, len(run.classes), fold)
        write_weights(weights_path(run.path, fold), network.state_dict(), run.classes)
    write_json_hashed(predictions_path(run.path), {})
    write_json_hashed(metrics_path(run.path), {})
    return run


def test_the_network_in_a_model_file_is_checked(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.magsd"
    other = lung_bytes({0: draw_film(9)[0]})
    write_model_file(path, head(), {0: tiny_onnx()}, other)
    with pytest.raises(ArtifactError, match=r"network\.lungs|lung network"):
        predict(PredictOptions([site / "films"], path, tmp_path, tmp_path / "t.parquet"))
    with pytest.raises(ArtifactError, match="damaged"):
        read_lungs(open_model_file(path))


def test_a_new_operating_point_leaves_the_lung_network_where_it_is(site: Path, tmp_path: Path) -> None:
    from operating_points import operating_point

    from magsd_cli.artifacts.model_file import replace_operating

    path = tmp_path / "m.magsd"
    write_model_file(path, head(Lungs.mask), {0: tiny_onnx()}, lung_bytes())
    point: OperatingPoint = operating_point()
    replace_operating(path, point)
    again = open_model_file(path)
    assert again.preprocessing.lungs == Lungs.mask
    assert read_lungs(again) == lung_bytes()
