"""A lung network in its file: which network answers for which film, and what damage is noticed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_lungs import draw_film, lung_bytes, squeezed, write_lungs

from magsd_cli.errors import ArtifactError
from magsd_cli.lungs.looks import SAME, looks_of, nearest
from magsd_cli.lungs.network import EVERYWHERE, open_lung_network, shipped

DATA = Path(__file__).parents[3] / "shared/data"


def test_the_lungs_of_a_film_are_found_where_they_are(tmp_path: Path) -> None:
    write_lungs(tmp_path / "dark.lungs")
    network = open_lung_network(tmp_path / "dark.lungs")
    film, mask = draw_film(1, 400, 300)
    lungs = network.find(film)
    assert lungs is not None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    frame = lungs.frame
    assert frame.x < columns[0] < columns[-1] < frame.x + frame.width
    assert frame.y < rows[0] < rows[-1] < frame.y + frame.height
    assert frame.width < columns[-1] - columns[0] + 0.12 * 300
    assert network.find(draw_film(1, lungs=1)[0]) is None


def test_a_film_of_the_training_is_given_to_the_network_that_never_saw_its_patient(tmp_path: Path) -> None:
    known, new = draw_film(1)[0], draw_film(2)[0]
    write_lungs(tmp_path / "dark.lungs", {1: known})
    network = open_lung_network(tmp_path / "dark.lungs")
    assert network.fold_of(squeezed(known)) == 1
    assert network.fold_of(squeezed(new)) == EVERYWHERE
    assert network.find(known) is None  # fold 1's network finds nothing
    assert network.find(new) is not None
    # The same picture smaller, brighter and compressed is the same film.
    done, data = cv2.imencode(".jpg", cv2.resize(known, (90, 110), interpolation=cv2.INTER_AREA))
    assert done
    copy = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert network.fold_of(squeezed(np.asarray(copy))) == 1


def test_the_same_network_is_the_same_file() -> None:
    assert lung_bytes() == lung_bytes()


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "dark.lungs"
    data = bytearray(lung_bytes())
    place = data.find(b"threshold")
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"damaged|BadZipFile"):
        open_lung_network(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ArtifactError, match="no lung network"):
        open_lung_network(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", "{}")
    with pytest.raises(ArtifactError, match="no lung network"):
        open_lung_network(path)
    with pytest.raises(ArtifactError, match="no such lung network"):
        open_lung_network(tmp_path / "absent.lungs")


def test_looks_tell_films_apart() -> None:
    films = np.stack([looks_of(draw_film(seed)[0]) for seed in range(5)])
    assert nearest(films[3], films) == (3, 0)
    assert nearest(films[3], films[:0]) == (-1, 256)
    assert nearest(films[0], films[1:])[1] > SAME


def test_the_shipped_network_opens_without_torch_and_names_its_licences() -> None:
    network = open_lung_network(shipped())
    assert 1e6 < len(network.data) < 3e6
    assert "CC BY 4.0" in network.card["credit"]
    assert [one["source"] for one in network.card["sources"]] == ["chest_xray (Kermany)"]
    script = (
        "import sys, numpy as np\n"
        "from magsd_cli.lungs.network import open_lung_network, shipped\n"
        "open_lung_network(shipped()).find(np.zeros((90, 90), np.uint8))\n"
        "assert not {'torch', 'pandas', 'onnx', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.real
@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
def test_the_shipped_network_finds_the_lungs_of_adults_that_it_never_saw() -> None:
    network = open_lung_network(shipped())
    masks = sorted((DATA / "cxr/lung_masks/COVID-19").glob("*.png"))[::4]
    dice, found = [], 0
    for path in masks:
        film = cv2.imread(str(DATA / "cxr/images/COVID-19" / f"{path.stem}.jpg"), cv2.IMREAD_GRAYSCALE)
        assert film is not None
        small = network.squeezed(film)
        assert network.fold_of(small) == EVERYWHERE
        true = squeezed(np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))) > 127
        mine = network.probabilities(film) >= 0.5
        dice.append(2 * (mine & true).sum() / (mine.sum() + true.sum()))
        found += network.find(film) is not None
    assert np.mean(dice) > 0.8
    assert found >= 0.8 * len(masks)


@pytest.mark.real
@pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
def test_the_shipped_network_knows_the_films_of_its_training() -> None:
    network = open_lung_network(shipped())
    films = sorted((DATA / "c/chest_xray/train").rglob("*.jpeg"))[::400]
    folds = [network.fold_of(network.squeezed(np.asarray(cv2.imread(str(f), 0)))) for f in films]
    assert set(folds) == {0, 1}
