"""Inputs rebuilt after public fault reports (../shared/fieldcases): each read rightly or refused in words."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from magsd_cli.artifacts.cache import Cache, open_cache
from magsd_cli.artifacts.cache_truth import read_masks
from magsd_cli.errors import UsageError
from magsd_cli.inference.inputs import list_inputs
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.settings import Preprocessing

pytestmark = pytest.mark.real


@pytest.fixture
def fieldcases(shared_data: Path) -> Path:
    folder = shared_data.parent / "fieldcases"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: the inputs live beside the checkout")
    return folder


def cache_of(source: Path, runs: Path) -> Cache:
    path, code = prepare(PrepareOptions([source], runs, preprocessing=Preprocessing(64)))
    assert code == 0
    return open_cache(path)


def test_split_folders(fieldcases: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"test, train: parts of a collection.*test.txt, train.txt"):
        prepare(PrepareOptions([fieldcases / "07-split-folders/covidx"], tmp_path))
    cache = cache_of(fieldcases / "07-split-folders/imagefolder", tmp_path)
    samples = cache.samples()
    assert cache.classes == ("COVID", "Normal")
    assert Counter(samples["split"]) == {"train": 12, "test": 6, "val": 6}


def test_images_and_masks(fieldcases: Path, tmp_path: Path) -> None:
    folder = fieldcases / "08-images-and-masks-per-class/COVID-19_Radiography_Dataset"
    cache = cache_of(folder, tmp_path)
    assert cache.classes == ("COVID", "Normal", "Viral Pneumonia")
    assert len(cache.images) == 15
    masks = read_masks(cache.path)
    assert masks is not None
    assert len(masks.masks) == 15


@pytest.mark.parametrize("kind", ["comma", "semicolon", "utf16"])
def test_manifests(kind: str, fieldcases: Path, tmp_path: Path) -> None:
    cache = cache_of(fieldcases / "09-manifest-not-recognised" / kind, tmp_path)
    assert set(cache.patient_ids) == {f"pat-{label}-{n}" for label in ("COVID", "Normal") for n in (0, 1)}


def test_unknown_patients(fieldcases: Path, tmp_path: Path) -> None:
    cache = cache_of(fieldcases / "10-unknown-patient-words/nan", tmp_path)
    assert Counter(cache.patient_ids)[""] == 12
    assert len(set(cache.patient_ids)) == 7


def test_unicode_forms(fieldcases: Path, tmp_path: Path) -> None:
    cache = cache_of(fieldcases / "18-nfc-nfd/one", tmp_path)
    assert cache.classes == ("Neumon\u00eda", "Normal")
    assert len(cache.images) == 4


def test_nas_thumbnails(fieldcases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = fieldcases / "23-nas-thumbnails/incoming"
    assert len(cache_of(source, tmp_path).images) == 3
    assert "left out: 8 files of system folders" in capsys.readouterr().err
    assert [path.name for path in list_inputs([source])] == ["x0.png", "x1.png", "x2.png"]
    assert capsys.readouterr().err == "left out: 8 files of system folders\n"
