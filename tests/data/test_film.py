"""A film cut to its lungs before it is resized and equalised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_lungs import draw_film, lung_bytes, write_lungs

from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.data.film import LUNGS_NOT_FOUND, lung_network_of, prepare_film
from magsd_cli.errors import ArtifactError
from magsd_cli.settings import Lungs, Preprocessing, preprocessing_from


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("network") / "dark.lungs"
    return path, write_lungs(path)


def how(network: tuple[Path, str], lungs: Lungs, clahe: bool = True) -> Preprocessing:
    return Preprocessing(64, clahe, lungs=lungs, lung_network=network[1], lung_file=network[0])


def test_without_lungs_a_film_is_prepared_as_it_always_was() -> None:
    film, _ = draw_film()
    prepared = prepare_film(film, Preprocessing(64))
    np.testing.assert_array_equal(prepared.image, prepare_pixels(film, Preprocessing(64)))
    assert (prepared.frame, prepared.warnings) == (None, ())
    assert Preprocessing(64).values() == {"size": 64, "clahe": True, "clip_limit": 4.0, "tiles": 4}


@pytest.mark.parametrize("shape", [(150, 120), (400, 401), (97, 640)])
def test_a_crop_is_the_films_own_pixels(network: tuple[Path, str], shape: tuple[int, int]) -> None:
    film, _ = draw_film(5, *shape)
    prepared = prepare_film(film, how(network, Lungs.crop))
    assert prepared.frame is not None
    part = np.ascontiguousarray(film[prepared.frame.place])
    assert part.shape == (prepared.frame.height, prepared.frame.width)
    np.testing.assert_array_equal(prepared.image, prepare_pixels(part, Preprocessing(64)))


@pytest.mark.parametrize("clahe", [True, False])
def test_of_a_masked_film_nothing_outside_the_lungs_counts(network: tuple[Path, str], clahe: bool) -> None:
    film, mask = draw_film(6, 300, 300)
    settings = how(network, Lungs.mask, clahe)
    prepared = prepare_film(film, settings)
    assert prepared.frame is not None
    lungs = lung_network_of(settings).find(film)
    assert lungs is not None
    outside = np.ones_like(film, bool)
    outside[prepared.frame.place] = lungs.outside()
    changed = np.where(outside, np.random.default_rng(1).integers(150, 256, film.shape), film)
    again = prepare_film(changed.astype(np.uint8), settings)
    assert again.frame == prepared.frame
    np.testing.assert_array_equal(again.image, prepared.image)
    assert 0.3 < (prepared.image == 0).mean() < 0.8
    assert prepared.image[mask[0, 0] :, :].any()


@pytest.mark.parametrize("lungs", [Lungs.crop, Lungs.mask])
def test_a_film_without_two_lungs_is_kept_whole_and_says_so(network: tuple[Path, str], lungs: Lungs) -> None:
    film, _ = draw_film(lungs=1)
    prepared = prepare_film(film, how(network, lungs))
    assert prepared.frame is None
    assert prepared.warnings == (LUNGS_NOT_FOUND,)
    np.testing.assert_array_equal(prepared.image, prepare_pixels(film, Preprocessing(64)))


def test_another_network_is_refused(network: tuple[Path, str], tmp_path: Path) -> None:
    other = tmp_path / "dark.lungs"
    other.write_bytes(lung_bytes({0: draw_film(9)[0]}))
    for file in (other, None, tmp_path / "absent.lungs"):
        settings = Preprocessing(64, lungs=Lungs.crop, lung_network=network[1], lung_file=file)
        with pytest.raises(ArtifactError, match=r"lung network"):
            prepare_film(draw_film()[0], settings)


def test_settings_and_their_plain_values(network: tuple[Path, str]) -> None:
    for settings in (Preprocessing(64, False, 2.0, 8), how(network, Lungs.mask)):
        again = preprocessing_from(settings.values(), network[0])
        assert again == settings
        assert again.lung_file == settings.lung_file
