"""Python: the same columns, values and bits as the command; nothing printed, no process left, no torch."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from notebook_cells import code_cells
from operating_points import VALUES, operating_point
from tiny_onnx import HEAD, tiny_onnx
from tiny_run import picture

import magsd_cli as magsd
from magsd_cli.artifacts.files import sha256_file
from magsd_cli.artifacts.model_file import open_model_file, write_model_file
from magsd_cli.data.ingest import IngestTask, ingest
from magsd_cli.inference.engines import open_attention_engine
from magsd_cli.inference.model import open_model
from magsd_cli.inference.out_of_distribution import appearance_features, appearance_to_values, fit_appearance

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """model.magsd of three networks with an operating point, and xrays/ of every kind of file."""
    folder = tmp_path_factory.mktemp("site")
    xrays = folder / "xrays"
    xrays.mkdir()
    for number in range(6):
        cv2.imwrite(str(xrays / f"{number}.png"), picture(number, 90))
    cv2.imwrite(str(xrays / "small.png"), picture(7, 40))
    cv2.imwrite(str(xrays / "deep.png"), picture(8).astype(np.uint16) * 16)
    cv2.imwrite(str(xrays / "wide.tif"), cv2.resize(picture(9), (200, 70)))
    cv2.imwrite(str(xrays / "flat.png"), np.full((80, 80), 7, np.uint8))
    (xrays / "notes.txt").write_text("no picture")
    write_model_file(
        folder / "model.magsd", head(xrays), {0: tiny_onnx(3.0), 1: tiny_onnx(-2), 2: tiny_onnx(1)}
    )
    return folder


def head(xrays: Path) -> dict[str, object]:
    pictures = np.array([cv2.resize(picture(number), (64, 64)) for number in range(12)])[:, None]
    plane = appearance_to_values(fit_appearance(appearance_features(pictures)))
    decided = VALUES["decision"] | {"positive": "a", "threshold": 0.5}
    looks = VALUES["appearance"] | {"plane": plane, "limit": 3.0, "by_class": {"a": [1, 9], "b": [0, 9]}}
    point = operating_point(decision=decided, appearance=looks, confidence={"coverage": 0.9, "least": 0.53})
    known = {sha256_file(xrays / "0.png"): 1}
    return HEAD | {"operating": point.values(), "trained_on": known}


@pytest.fixture(scope="module")
def model(site) -> magsd.Model:
    return magsd.load(site / "model.magsd")


def command(site: Path, *words: object) -> pd.DataFrame:
    out = site / f"table{len(list(site.glob('table*')))}.parquet"
    given = ["predict", *map(str, words), "--model", str(site / "model.magsd"), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "magsd_cli", *given, "--runs", str(site / "runs")], check=False)
    return pd.read_parquet(out)


def same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        ours.reset_index(drop=True), theirs.reset_index(drop=True), check_exact=True
    )


def test_a_folder_gives_the_command_s_table(site, model):
    theirs = command(site, site / "xrays")
    same(model.predict(site / "xrays"), theirs)
    assert set(theirs["status"]) == {"ok", "error"}
    assert theirs["refer"].any()
    assert set(theirs["decision"].dropna()) <= {"a", "not a"}
    assert sum(map(len, theirs["warnings"])) >= 3  # training data, small, 16 bits


def test_raw_probabilities(site, model):
    raw = model.predict(site / "xrays", raw_probabilities=True)
    same(raw, command(site, site / "xrays", "--raw-probabilities"))
    assert not raw.equals(model.predict(site / "xrays"))


def test_a_path_and_its_array_give_the_same_bits(site, model):
    paths = [site / "xrays" / name for name in ("1.png", "small.png", "deep.png", "wide.tif", "flat.png")]
    arrays = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
    assert {array.dtype for array in arrays} == {np.dtype(np.uint8), np.dtype(np.uint16)}
    of_files, of_arrays = model.predict(paths), model.predict(arrays)
    same(of_arrays.drop(columns=["path", "sha256"]), of_files.drop(columns=["path", "sha256"]))
    assert of_arrays["path"].isna().all()
    assert of_arrays["sha256"].isna().all()
    alone = model.predict(arrays[0])
    assert alone.astype(object).equals(of_arrays[:1].astype(object))


def test_paths_and_arrays_together_keep_their_order(site, model):
    array = magsd.read_film(site / "xrays/2.png")
    mixed = model.predict([str(site / "xrays/1.png"), array, site / "xrays/3.png"])
    assert list(mixed["path"].fillna("-")) == [str(site / "xrays/1.png"), "-", str(site / "xrays/3.png")]
    assert mixed.loc[1, "p_a"] == model.predict(array).loc[0, "p_a"]


def test_arrays_that_are_not_contiguous(site, model):
    film = picture(3, 120)
    same(model.predict(film[::-1, ::2]), model.predict(np.ascontiguousarray(film[::-1, ::2])))


def test_attention_is_localize_s(site, model):
    path = site / "xrays/4.png"
    trained = open_model(site / "model.magsd", site)
    image = ingest(IngestTask(path, trained.preprocessing)).image
    expected = open_attention_engine(trained, "cpu")(image[None, None], trained.folds).attention[0]
    ours = model.attention(path)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(model.attention(magsd.read_film(path)), expected)


def test_attention_of_a_network_without(tmp_path):
    write_model_file(tmp_path / "model.magsd", HEAD, {0: tiny_onnx(attention=False)})
    with pytest.raises(magsd.MagsdError, match="no attention"):
        magsd.load(tmp_path / "model.magsd").attention(picture(0))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((80, 80), np.float32), "uint8 or uint16"),
        (np.zeros((80, 80), np.int16), "uint8 or uint16"),
        (np.zeros((3, 80, 80), np.uint8), r"\[H,W\]"),
        ([], "no films"),
        ([3], "path or an array"),
        (3.5, "path or an array"),
    ],
)
def test_what_is_no_film(model, given, words):
    with pytest.raises(magsd.MagsdError, match=words):
        model.predict(given)


def test_a_film_that_cannot_be_used(site, model, tmp_path):
    assert list(model.predict(tmp_path / "none.png")["error_code"]) == ["not_found"]
    assert list(model.predict(np.full((80, 80), 7, np.uint16))["error_code"]) == ["constant"]
    assert list(model.predict(picture(0)[:10])["error_code"]) == ["too_small"]
    for film in (site / "xrays/flat.png", np.full((80, 80), 7, np.uint8)):
        with pytest.raises(magsd.MagsdError, match="constant"):
            model.attention(film)
    (tmp_path / "empty").mkdir()
    with pytest.raises(magsd.MagsdError, match="no files there"):
        model.predict(tmp_path / "empty")


def test_a_model_that_is_not_there_or_damaged(site, tmp_path):
    with pytest.raises(magsd.MagsdError, match="no such model") as error:
        magsd.load(tmp_path / "model.magsd")
    assert error.value.exit_code == 5
    (tmp_path / "model.magsd").write_bytes((site / "model.magsd").read_bytes()[:500])
    with pytest.raises(magsd.MagsdError, match="damaged"):
        magsd.load(tmp_path / "model.magsd")
    with pytest.raises(magsd.MagsdError, match="CPU"):
        magsd.load(site / "model.magsd", device="cuda")


def test_nothing_is_printed_and_no_process_is_left(site, model, capfd):
    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    before = children()
    magsd.load(site / "model.magsd").predict([site / "xrays", picture(1)], workers=2)
    model.attention(site / "xrays/1.png")
    assert children() <= before
    assert capfd.readouterr() == ("", "")


def test_what_is_said(model):
    assert repr(model) == "<magsd model deployed: a, b; 3 networks, onnxruntime>"
    assert model.classes == ("a", "b")


def test_importing_is_light_and_a_model_file_needs_no_torch(site):
    script = f"""
import sys
import magsd_cli as magsd
heavy = set("torch numpy pandas cv2 pyarrow pydantic typer".split())
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert "load" in dir(magsd)
model = magsd.load({str(site / "model.magsd")!r})
model.predict({str(site / "xrays")!r})
model.attention({str(site / "xrays" / "1.png")!r})
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        magsd.nothing  # noqa: B018


def test_the_notebook(site, tmp_path, monkeypatch, capfd):
    """docs/python.ipynb runs from top to bottom, and its table is the command's."""
    for name in ("model.magsd", "xrays"):
        (shutil.copytree if (site / name).is_dir() else shutil.copy2)(site / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    for number, cell in enumerate(code_cells(DOCS / "python.ipynb")):
        exec(compile(cell, f"cell {number}", "exec"), names)
    given = ["predict", "xrays", "--model", "model.magsd", "--out", "preds.parquet", "--runs", "runs"]
    subprocess.run([sys.executable, "-m", "magsd_cli", *given], check=False)
    same(names["table"], pd.read_parquet("preds.parquet"))
    assert open_model_file(tmp_path / "model.magsd").classes == names["model"].classes
    import matplotlib.pyplot as plt

    plt.close("all")


def test_the_page_s_lines_run(site, tmp_path, monkeypatch):
    """The first Python block of docs/python.md as it stands."""
    for name in ("model.magsd", "xrays"):
        (shutil.copytree if (site / name).is_dir() else shutil.copy2)(site / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "python.md").read_text()
    for block in text.split("```python\n")[1:]:
        exec(compile(block.split("```")[0], "docs/python.md", "exec"), {})
