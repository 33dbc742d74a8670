"""prepare on the real X-rays: with nothing typed but the path, the counts that their README promises."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from magsd_cli.artifacts.cache import AGAIN, Cache, open_cache
from magsd_cli.artifacts.cache_truth import boxes_path, read_masks
from magsd_cli.artifacts.tables import read_parquet
from magsd_cli.preparation.duplicates import NEAR, near_pairs
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.training.folds import make_folds

pytestmark = pytest.mark.real

UNLIKE = 0.95  # correlation: the nearest two patients of cxr have 0.915, its two pairs of copies 0.98 and 1


@pytest.mark.parametrize(
    ("folder", "labels", "patients", "left_out", "boxes", "masks"),
    [
        ("chestxray8", {"Pneumonia": 12, "Normal": 8}, 20, {"not_found": 5}, 6, 0),
        ("covid-chestxray-dataset", {"COVID-19": 12}, 12, {"ct_slice": 1, "not_found": 1}, 0, 0),
        ("covid-19-xray-dataset", {"COVID-19": 8}, 8, {}, 0, 8),
        ("chest_xray", {"Normal": 11, "Bacterial pneumonia": 11, "Viral pneumonia": 11}, 22, {}, 0, 0),
        ("figure1", {"COVID-19": 4, "": 1}, 5, {}, 0, 0),
        ("../raw", {"": 24}, 1, {}, 0, 0),
    ],
)
def test_a_folder(
    shared_data: Path,
    tmp_path: Path,
    folder: str,
    labels: dict[str, int],
    patients: int,
    left_out: dict[str, int],
    boxes: int,
    masks: int,
) -> None:
    path, code = prepare(PrepareOptions([shared_data / "layouts" / folder], tmp_path))
    samples = open_cache(path).samples()
    used, unused = samples[samples["status"] == "ok"], samples[samples["status"] != "ok"]
    assert code == 0
    assert Counter(used["label"]) == labels
    assert len(set(used["patient_id"]) - {""}) == patients
    assert set(unused["status"]) <= {"excluded"}
    assert Counter(unused["error_code"]) == left_out
    assert boxes == (len(read_parquet(boxes_path(path), AGAIN)) if boxes_path(path).exists() else 0)
    assert masks == (0 if (found := read_masks(path)) is None else len(found.masks))


def test_boxes_are_scaled_from_the_archives_frame(shared_data: Path, tmp_path: Path) -> None:
    """The list has them for 1024 pixels, the images here have 256."""
    path, _ = prepare(PrepareOptions([shared_data / "layouts" / "chestxray8"], tmp_path))
    boxes = read_parquet(boxes_path(path), AGAIN)
    first = boxes[boxes["image_id"].str.endswith("00000193_019.png")].iloc[0]
    values = [first[name] for name in ("x", "y", "width", "height")]
    assert values == pytest.approx([175.929, 154.249, 54.613, 62.293], abs=0.001)


def test_what_was_interpreted_is_said(shared_data: Path, tmp_path: Path) -> None:
    """Two DICOM files are one patient's, in opposite photometric interpretations."""
    path, _ = prepare(PrepareOptions([shared_data / "raw"], tmp_path))
    cache = open_cache(path)
    samples = cache.samples()
    warned = Counter(words for row in samples["warnings"] for words in row)
    assert warned == {
        "opaque alpha channel ignored": 3,
        "tinted picture read as gray": 2,
        "MONOCHROME1 inverted": 1,
    }
    dicom = samples[samples["image_id"].str.endswith(".dcm")]
    assert list(dicom["view"]) == ["PA", "PA"]
    assert list(dicom["sex"]) == ["M", "M"]
    assert len(set(dicom["patient_id"])) == 1


def test_cxr_and_that_nothing_crosses_its_folds(shared_data: Path, tmp_path: Path) -> None:
    path, code = prepare(PrepareOptions([shared_data / "cxr"], tmp_path))
    cache = open_cache(path)
    assert code == 0
    assert cache.images.shape == (890, 1, 224, 224)
    assert cache.classes == ("COVID-19", "Normal", "Pneumonia")
    assert np.bincount(cache.labels).tolist() == [106, 387, 397]
    assert len(set(cache.patient_ids)) == 611
    assert len(read_parquet(boxes_path(path), AGAIN)) == 34
    masks = read_masks(path)
    assert masks is not None
    assert len(masks.masks) == 106
    samples = cache.samples()
    alike = near_pairs(list(samples["perceptual_hash"]))
    assert sorted(bits for _, _, bits in alike) == [0, 14]
    assert nearest_patients(cache) == 56
    assert NEAR < 56
    assert len(samples) - samples["pixels_sha256"].nunique() == 1
    together = [*((i, j) for i, j, _ in alike), *look_alikes(cache)]
    assert len(together) == 4
    for seed in range(5):
        folds = make_folds(cache.labels, cache.group_ids, 5, seed)
        assert [(i, j) for i, j in together if folds[i] != folds[j]] == []
        for column in ("patient_id", "exam_id", "pixels_sha256"):
            named = samples.assign(fold=folds)[samples[column] != ""]
            assert (named.groupby(column)["fold"].nunique() == 1).all(), column


def nearest_patients(cache: Cache) -> int:
    """The fewest bits between images of different patients."""
    pairs = near_pairs(list(cache.samples()["perceptual_hash"]), 60)
    return min(bits for i, j, bits in pairs if cache.patient_ids[i] != cache.patient_ids[j])


def look_alikes(cache: Cache) -> list[tuple[int, int]]:
    """A second opinion without hashes: pairs of images whose thumbnails correlate above `UNLIKE`."""
    small = [cv2.resize(image[0], (48, 48), interpolation=cv2.INTER_AREA).ravel() for image in cache.images]
    correlation = np.corrcoef(np.array(small, np.float32))
    return [(int(i), int(j)) for i, j in np.argwhere(correlation > UNLIKE) if i < j]


def test_data_set_a_on_the_samples(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts = shared_data / "layouts"
    named = [f"covid-chestxray={layouts / 'covid-chestxray-dataset'}", f"chestxray8={layouts / 'chestxray8'}"]
    path, code = prepare(PrepareOptions([], tmp_path, recipe="data/a", named=named))
    cache = open_cache(path)
    assert code == 0
    assert path.name.startswith("data-a-")
    assert np.bincount(cache.labels).tolist() == [12, 12]
    samples = cache.samples()
    used = samples[samples["status"] == "ok"]
    assert Counter(used["source"]) == {"covid-chestxray-dataset": 12, "ChestX-ray8": 12}
    unused = Counter(samples.loc[samples["status"] != "ok", "error_code"])
    assert unused == {"left_out": 8, "not_found": 6, "ct_slice": 1}
    assert "data/a against Table 1: COVID-19 12 of 90, Pneumonia 12 of 168" in capsys.readouterr().err
