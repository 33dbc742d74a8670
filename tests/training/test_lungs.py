"""`magsd lungs train`: patients apart, the same seed the same file, the file the network that was trained."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from tiny_lungs import draw_film, squeezed, write_lungs

from magsd_cli.artifacts.files import check_hash
from magsd_cli.errors import ArtifactError, DeviceError, DivergedError, NoInputError, UsageError
from magsd_cli.lungs.network import EVERYWHERE, INPUT, OUTPUT, open_lung_network
from magsd_cli.method.zscore import z_score
from magsd_cli.models.lung_unet import LungUNet
from magsd_cli.runtime.worker_pool import Crash
from magsd_cli.tools.lungs_check import check_lungs, find_lungs
from magsd_cli.training.lungs import fit
from magsd_cli.training.lungs import train as stage
from magsd_cli.training.lungs.films import (
    SIZE,
    Films,
    ListedFilm,
    groups_of,
    list_films,
    people_of,
    read_films,
)
from magsd_cli.training.lungs.measure import dice_of, measure_lungs
from magsd_cli.training.lungs.onnx_form import to_onnx
from magsd_cli.training.lungs.train import LungOptions, train_lungs

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten films of five patients, children and adults; nine with a mask in masks/, the last with one lung."""
    folder = tmp_path_factory.mktemp("films")
    rows = [["path", "label", "patient_id", "age", "source"]]
    (folder / "films").mkdir()
    (folder / "masks").mkdir()
    for number in range(10):
        film, mask = draw_film(number, 140, 150, 1 if number == 9 else 2)
        cv2.imwrite(str(folder / "films" / f"{number}.png"), film)
        if number < 9:
            cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
        rows.append(
            [f"{number}.png", "ab"[number % 2], f"p{number // 2}", str(4 + 30 * (number % 4 > 1)), "drawn"]
        )
    with (folder / "films/metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def options(source: Path, out: Path) -> LungOptions:
    return LungOptions([source / "films"], [source / "masks"], out, credit="Drawn, CC0.", steps=1, workers=1)


def test_the_file_its_card_and_what_goes_on_after_a_stop(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.shutil, "rmtree", lambda path, **_rest: Path(path).rename(tmp_path / "kept"))
    first = train_lungs(options(source, tmp_path / "a.lungs"))
    monkeypatch.undo()
    assert "3 networks of 1 steps" in capsys.readouterr().err
    assert check_hash(first) == open_lung_network(first).sha256
    assert {path.name for path in tmp_path.glob("a.*")} == {"a.card.md", "a.lungs", "a.lungs.sha256"}
    network = open_lung_network(first)
    assert (sorted(network.networks), network.size) == ([EVERYWHERE, 0, 1], SIZE)
    # All ten films are known: the one without a mask is of a patient who has one with a mask.
    films = read_films(list_films([source / "films"], [source / "masks"]), 1)
    folds = [network.fold_of(film) for film in films.pixels]
    assert set(folds) == {0, 1}
    assert folds[::2] == folds[1::2]  # patients are apart
    card = (tmp_path / "a.card.md").read_text()
    assert "Drawn, CC0." in card
    assert "drawn, children, with masks" in card
    assert "drawn, without masks" in card
    # A run that was stopped before it wrote its file goes on with the networks that are there.
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "kept", tmp_path / "b" / ".a.lungs.work")
    monkeypatch.setattr(stage, "run_isolated", lambda *_arguments: iter(()))
    again = train_lungs(options(source, tmp_path / "b" / "a.lungs"))
    assert again.read_bytes() == first.read_bytes()
    assert "0 networks of 1 steps" in capsys.readouterr().err
    assert not list((tmp_path / "b").glob(".*.work"))


def test_onnx_runtime_says_what_torch_says() -> None:
    torch.manual_seed(0)
    network = LungUNet()
    for module in network.modules():  # statistics as after a training
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    network.eval()
    assert 2.5e5 < sum(value.numel() for value in network.parameters()) < 3e5
    data = to_onnx(safetensors.torch.save(network.plain_weights()), SIZE)
    assert len(data) < 6e5
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for seed in (0, 1):
        film = squeezed(draw_film(seed)[0])[None, None]
        with torch.inference_mode():
            expected = network(z_score(torch.from_numpy(film))).sigmoid().numpy()
        np.testing.assert_allclose(session.run([OUTPUT], {INPUT: film})[0], expected, atol=2e-3)


def test_the_same_seed_gives_the_same_bits_and_another_other_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "BATCH", 2)
    pairs = [draw_film(seed) for seed in range(3)]
    films, masks = (np.stack([squeezed(pair[k]) for pair in pairs]) for k in (0, 1))
    one = fit.fit_lungs(films, masks, 0, 0, 2)
    torch.rand(5)  # what others drew does not matter
    assert fit.fit_lungs(films, masks, 0, 0, 2) == one
    assert fit.fit_lungs(films, masks, 1, 0, 2) != one
    assert fit.fit_lungs(films, masks, 0, 1, 2) != one


def test_film_and_mask_are_changed_together() -> None:
    mask = torch.zeros(8, 1, SIZE, SIZE)
    mask[:, :, 40:90, 30:60] = 1
    pairs = torch.cat([0.2 + 0.6 * mask, mask], dim=1)
    films, masks = fit.augment(pairs, torch.Generator().manual_seed(3))
    for film, moved in zip(films[:, 0], masks[:, 0], strict=True):
        inside, outside = film[moved > 0.99], film[(moved < 0.01) & (film > 0)]
        assert float(inside.min()) > float(outside.median())
    assert len({round(float(one.sum())) for one in masks}) > 5


def test_the_loss_is_least_for_the_mask_itself() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:8, 4:8] = 1
    right, wrong = 20 * (2 * mask - 1), -20 * (2 * mask - 1)
    assert float(fit.lung_loss(right, mask)) < 1e-3
    assert float(fit.lung_loss(wrong, mask)) > 10


def test_dice() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert dice_of(one, other) == 1
    one[0], other[:, 0] = True, True
    assert dice_of(one, other) == pytest.approx(2 * 1 / 8)


def test_copies_of_one_picture_share_a_fold() -> None:
    listed = [ListedFilm(Path(f"{i}"), None, p, "s", "", "") for i, p in enumerate(("a", "b", "c", "", ""))]
    looks = np.random.default_rng(0).integers(0, 256, (5, 32), dtype=np.uint8)
    looks[2] = looks[0]
    looks[2, 0] ^= 3  # two bits
    pixels = np.zeros((5, SIZE, SIZE), np.uint8)
    films = Films(listed, pixels, pixels, np.ones(5, bool), looks, [""] * 5)
    groups = groups_of(films)
    assert groups[0] == groups[2] != groups[1]
    assert len(set(groups)) == 4


@pytest.mark.parametrize(
    ("age", "people"),
    [
        ("4", "children"),
        ("17.5", "children"),
        ("18", "adults"),
        ("057Y", "adults"),
        ("008M", "children"),
        ("", ""),
    ],
)
def test_children_and_adults(age: str, people: str) -> None:
    assert people_of(age) == people


def test_what_cannot_be_is_said(source: Path, tmp_path: Path) -> None:
    given = options(source, tmp_path / "a.lungs")
    with pytest.raises(UsageError, match=r"name it a\.lungs"):
        train_lungs(replace(given, out=tmp_path / "a.onnx"))
    with pytest.raises(UsageError, match="0 films have a lung mask"):
        train_lungs(replace(given, masks=[]))
    with pytest.raises(UsageError, match="is no folder"):
        train_lungs(replace(given, masks=[tmp_path / "absent"]))
    (tmp_path / "a.lungs").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        train_lungs(given)
    (tmp_path / "twice").mkdir()
    cv2.imwrite(str(tmp_path / "twice" / "1.png"), draw_film(1)[1])
    with pytest.raises(UsageError, match="1 is the name of 1 films and 2 masks"):
        list_films([source / "films"], [source / "masks", tmp_path / "twice"])
    with pytest.raises(NoInputError):
        list_films([tmp_path / "nothing"])


@pytest.mark.parametrize(("cause", "error"), [("DivergedError", DivergedError), ("SIGKILL", DeviceError)])
def test_a_network_that_cannot_be_trained_ends_the_command(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str, error: type[Exception]
) -> None:
    crash = Crash("unexpected", cause, "it ended")
    monkeypatch.setattr(stage, "run_isolated", lambda *_arguments: iter([[crash]] * 3))
    with pytest.raises(error, match="lungs train: "):
        train_lungs(options(source, tmp_path / "a.lungs"))
    assert not (tmp_path / "a.lungs").exists()


def test_check_draws_a_panel_and_says_how_many(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lungs(tmp_path / "dark.lungs", {1: draw_film(9, 140, 150, 1)[0]})
    panel = check_lungs(
        [source / "films"], [source / "masks"], tmp_path / "out", tmp_path / "dark.lungs", 5, 1
    )
    said = capsys.readouterr().err
    assert "1 films are of its training" in said
    assert "drawn, with masks (dark): 9 films of 5 patients: Dice 0.9" in said
    assert "drawn, without masks (dark): 1 films of 1 patients; two lungs found on 0 of 1 films" in said
    picture = cv2.imread(str(panel))
    assert picture is not None
    rows = (tmp_path / "out/films.csv").read_text().splitlines()
    assert len(rows) == 11
    assert sum(",True," in row for row in rows) == 9
    with pytest.raises(ArtifactError, match="no such lung network"):
        check_lungs([source / "films"], [], tmp_path, tmp_path / "absent.lungs")


def test_masks_for_localize(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lungs(tmp_path / "dark.lungs")
    films = tmp_path / "films"
    films.mkdir()
    for number, lungs in ((0, 2), (1, 1)):
        cv2.imwrite(str(films / f"{number}.png"), draw_film(number, 300, 200, lungs)[0])
    (films / "notes.txt").write_text("none")
    assert find_lungs([films], tmp_path / "out", tmp_path / "dark.lungs") == 3
    said = capsys.readouterr().err
    assert "1.png: two lungs were not found" in said
    assert "notes.txt: not_image" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.png"]
    mask = cv2.imread(str(tmp_path / "out/0.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert dice_of(mask > 127, draw_film(0, 300, 200)[1] > 0) > 0.95
    with pytest.raises(UsageError, match="another film has its name"):
        find_lungs([films, source / "films"], tmp_path / "out", tmp_path / "dark.lungs")
    with pytest.raises(NoInputError, match="no film with two lungs"):
        find_lungs([films / "1.png"], tmp_path / "out", tmp_path / "dark.lungs")


def test_figures_by_source_and_people(source: Path, tmp_path: Path) -> None:
    write_lungs(tmp_path / "dark.lungs")
    films = read_films(list_films([source / "films"], [source / "masks"]), 1)
    figures = measure_lungs(open_lung_network(tmp_path / "dark.lungs"), films, "here")
    with_masks = {figure.of: figure for figure in figures if figure.masks}
    assert with_masks["drawn, with masks"].films == 9
    people = [with_masks[f"drawn, {name}, with masks"].films for name in ("children", "adults")]
    assert sum(people) == 9
    for figure in with_masks.values():
        assert figure.dice is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.dice <= figure.high
