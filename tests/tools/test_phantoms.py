from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score

from magsd_cli.tools.phantoms import COVID, LESIONS, NORMAL, PNEUMONIA, draw_phantom

SIZE = 96
Phantom = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
Drawn = dict[str, list[Phantom]]


def _many(label: str, count: int = 60) -> list[Phantom]:
    rng = np.random.default_rng([7, *label.encode()])
    return [draw_phantom(label, rng, SIZE) for _ in range(count)]


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return {label: _many(label) for label in LESIONS}


def test_shapes_and_types() -> None:
    for label in LESIONS:
        pixels, mask = draw_phantom(label, np.random.default_rng(0), 64)
        assert pixels.shape == mask.shape == (64, 64)
        assert pixels.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert pixels.std() > 20


def test_the_same_generator_draws_the_same_phantom() -> None:
    first = draw_phantom(COVID, np.random.default_rng(3), 64)
    again = draw_phantom(COVID, np.random.default_rng(3), 64)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])


def test_normal_has_no_lesion_and_the_others_have_one(drawn: Drawn) -> None:
    assert not any(mask.any() for _, mask in drawn[NORMAL])
    for label in (PNEUMONIA, COVID):
        shares = [float((mask > 0).mean()) for _, mask in drawn[label]]
        assert min(shares) > 0.003
        assert max(shares) < 0.25


def test_pneumonia_is_on_one_side_and_covid_on_both(drawn: Drawn) -> None:
    half = SIZE // 2
    sides = [(mask[:, :half].any(), mask[:, half:].any()) for _, mask in drawn[PNEUMONIA]]
    assert np.mean([left != right for left, right in sides]) > 0.95
    assert np.mean([left for left, _ in sides]) == pytest.approx(0.5, abs=0.25)
    both = [mask[:, :half].any() and mask[:, half:].any() for _, mask in drawn[COVID]]
    assert np.mean(both) > 0.95


def test_covid_is_peripheral_and_low(drawn: Drawn) -> None:
    rows, columns = np.indices((SIZE, SIZE))
    masks = np.array([mask > 0 for _, mask in drawn[COVID]])
    from_middle = np.abs(columns - SIZE / 2)
    assert np.mean([from_middle[mask].mean() for mask in masks]) > 0.25 * SIZE
    assert np.mean([rows[mask].mean() for mask in masks]) > 0.5 * SIZE


def test_the_lesion_is_brighter_than_the_same_chest_without_it() -> None:
    for label in (PNEUMONIA, COVID):
        differences = []
        for seed in range(12):
            pixels, mask = draw_phantom(label, np.random.default_rng(seed), SIZE)
            mirrored = pixels[:, ::-1]
            here = (mask > 0) & ~(mask[:, ::-1] > 0)
            differences.append(float(pixels[here].mean()) - float(mirrored[here].mean()))
        if label == PNEUMONIA:
            assert np.mean(differences) > 5


def test_mean_brightness_alone_does_not_tell_the_classes(drawn: Drawn) -> None:
    means = np.array([pixels.mean() for label in LESIONS for pixels, _ in drawn[label]])
    truth = np.array([label for label in LESIONS for _ in drawn[label]])
    for label in LESIONS:
        auc = roc_auc_score(truth == label, means)
        assert max(auc, 1 - auc) < 0.7


def test_border_alone_does_not_tell_the_classes(drawn: Drawn) -> None:
    frame = np.ones((SIZE, SIZE), bool)
    frame[8:-8, 8:-8] = False
    means = np.array([pixels[frame].mean() for label in LESIONS for pixels, _ in drawn[label]])
    truth = np.array([label for label in LESIONS for _ in drawn[label]])
    for label in LESIONS:
        auc = roc_auc_score(truth == label, means)
        assert max(auc, 1 - auc) < 0.65


def test_unknown_label_and_tiny_size() -> None:
    with pytest.raises(KeyError):
        draw_phantom("Fracture", np.random.default_rng(0), 64)
    with pytest.raises(ValueError, match="32 pixels"):
        draw_phantom(NORMAL, np.random.default_rng(0), 16)
