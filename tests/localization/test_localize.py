"""localize: overlays, masks, a table and honest figures for every image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from tiny_run import picture

import magsd_cli.localization.localize as stage
from magsd_cli.artifacts.files import lock
from magsd_cli.artifacts.runs import open_run
from magsd_cli.artifacts.tables import LOCALIZATION, read_table
from magsd_cli.errors import ArtifactError, LockedError, NoInputError, UsageError
from magsd_cli.inference.torch_engine import Prediction, load_ensemble, predict_images
from magsd_cli.localization.localize import LocalizeOptions, localize
from magsd_cli.localization.regions import find_region
from magsd_cli.localization.views import view_files
from magsd_cli.metrics.iou import box_iou, mask_iou
from magsd_cli.settings import BoxRule, Map, Preprocessing

BOX = (10.0, 20.0, 30.0, 25.0)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(made: Path) -> Path:
    """What is made for all, and new/ with three pictures that it never saw, truth for two, and a bad file."""
    (made / "new").mkdir()
    for number in range(3):
        cv2.imwrite(str(made / "new" / f"{number}.png"), picture(50 + number, 90)[:, :70])
    (made / "new" / "notes.txt").write_text("no picture")
    rows = [f"{number}.png,P,{','.join(map(str, BOX))}" for number in range(2)]
    (made / "new" / "boxes.csv").write_text("path,label,x,y,width,height\n" + "\n".join(rows) + "\n")
    mask = np.zeros((90, 70), np.uint8)
    mask[20:45, 10:40] = 255
    (made / "masks").mkdir()
    cv2.imwrite(str(made / "masks" / "2.png"), mask)
    (made / "lungs").mkdir()
    cv2.imwrite(str(made / "lungs" / "1.png"), np.repeat(mask[:, :35], 2, axis=1))
    (made / "zoned").mkdir()
    for number in range(4):
        cv2.imwrite(str(made / "zoned" / f"z{number}.png"), picture(80 + number, 90)[:, :70])
    two = np.zeros((90, 70), np.uint8)
    two[10:70, 8:30] = two[5:80, 40:62] = 255
    for number in (0, 1, 3):
        cv2.imwrite(str(made / "lungs" / f"z{number}.png"), two)
    rows = ["z0.png,0,1,2,3,0,1", "z1.png,3,2,1,0,0,1", "z2.png,3,2,1,0,0,1", "z3.png,1,1,1,1,1,1"]
    (made / "zoned" / "zones.csv").write_text("path,A,B,C,D,E,F\n" + "\n".join(rows) + "\n")
    return made


def run(made: Path, *inputs: Path, runs: Path, **options: Any) -> tuple[Path, int]:
    """Against the made run, but with a `runs` folder of the test's own for what localize leaves."""
    given: dict[str, Any] = {"model": made / "runs" / "tiny", "device": "cpu", "name": "here"}
    return localize(LocalizeOptions(inputs=list(inputs), runs=runs, **given | options))


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    table = read_table(folder / "localization.parquet", LOCALIZATION)
    return {Path(row["path"]).name: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def done(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    new = made / "new"
    folder, code = run(
        made, new, runs=runs, boxes=new / "boxes.csv", masks=made / "masks", lungs=made / "lungs"
    )
    assert code == 3  # notes.txt has an error row
    assert folder == runs / "localize" / "here"
    return folder


def test_a_row_for_every_file(done: Path) -> None:
    rows = rows_of(done)
    assert list(rows) == ["0.png", "1.png", "2.png", "notes.txt"]
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "ok", "error"]
    assert [row["truth"] for row in rows.values()] == ["boxes", "boxes", "mask", None]
    assert rows["notes.txt"]["error_code"] == "not_image"
    assert rows["0.png"]["label"] == "P"
    for name in ("0.png", "1.png", "2.png"):
        row = rows[name]
        assert (row["image_width"], row["image_height"]) == (70, 90)
        assert row["folds"] == [0, 1]
        assert row["unseen"] is True
        assert row["threshold"] == 0.5


def test_pictures_and_measures_agree_with_each_other(done: Path) -> None:
    for name, row in rows_of(done).items():
        if row["status"] == "error":
            continue
        mask = cv2.imread(str(done / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (90, 70)
        assert set(np.unique(mask)) <= {0, 255}
        assert row["area_share"] == pytest.approx((mask > 0).mean())
        true = np.zeros((90, 70), bool)
        true[20:45, 10:40] = True
        assert row["iou_mask"] == pytest.approx(mask_iou(mask > 0, true)), name
        found = (row["x"], row["y"], row["width"], row["height"])
        assert row["iou_box"] == pytest.approx(box_iou(found, BOX)), name
        overlay = cv2.imread(str(done / row["overlay"]))
        assert min(overlay.shape[:2]) > 300


def test_the_summary_holds_the_figures_with_chance_beside_them(done: Path) -> None:
    summary = json.loads((done / "summary.json").read_text())
    rows = [row for row in rows_of(done).values() if row["truth"]]
    assert (summary["files"], summary["ok"], summary["errors"], summary["measured"]) == (4, 3, 1, 3)
    boxed, masked = rows[:2], rows[2:]
    for kind, iou, part in (("boxes", "iou_box", boxed), ("mask", "iou_mask", masked)):
        figures = summary["kinds"][kind]
        assert figures["n"] == len(part)
        assert figures["iou"]["mean"] == pytest.approx(np.mean([row[iou] for row in part]))
        assert figures["pointing"]["mean"] == pytest.approx(np.mean([row["pointing_hit"] for row in part]))
        untrained = figures["iou"]["controls"]["untrained"]["mean"]
        assert untrained == pytest.approx(np.mean([row[f"untrained_{iou}"] for row in part]))
    shuffled = summary["kinds"]["boxes"]["iou"]["controls"]["shuffled"]["mean"]
    assert shuffled == pytest.approx(np.mean([row["control_iou_box"] for row in boxed]))
    assert "shuffled" not in summary["kinds"]["mask"]["iou"]["controls"]  # one image has no other
    whole = summary["kinds"]["boxes"]["iou"]["controls"]["whole"]["mean"]
    assert whole == pytest.approx(BOX[2] * BOX[3] / (90 * 70))
    assert {"whole", "brightness", "shuffled", "untrained"} <= set(summary["controls"])
    assert summary["missing_controls"] == {}


def test_attention_inside_the_lungs_beside_their_share_of_the_image(done: Path) -> None:
    rows = rows_of(done)
    lungs = np.zeros((90, 70), bool)
    lungs[20:45, 20:70] = True
    assert rows["1.png"]["lungs_share"] == pytest.approx(lungs.mean())
    assert 0 < rows["1.png"]["lungs_inside"] < 1
    assert rows["0.png"]["lungs_inside"] is None
    figures = json.loads((done / "summary.json").read_text())["kinds"]["lungs"]
    assert figures["inside"]["controls"]["area"]["mean"] == pytest.approx(lungs.mean())
    assert "untrained" in figures["inside"]["controls"]


def test_the_panel_and_the_histogram_are_there(done: Path) -> None:
    panel = cv2.imread(str(done / "panel.png"))
    # Two images with boxes and one with a mask: three rows of tiles, cyan truth in the second column.
    assert panel.shape[0] > 3 * 210
    assert (panel[:, 240:440] == (255, 224, 64)).all(axis=2).any()
    assert cv2.imread(str(done / "iou.png")) is not None


def test_the_same_question_again_has_nothing_to_do(
    made: Path, done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "open_attention_engine", None)
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*.png")}
    new = made / "new"
    truth = {"boxes": new / "boxes.csv", "masks": made / "masks", "lungs": made / "lungs"}
    again = run(made, new, runs=done.parents[1], **truth)
    assert again == (done, 3)
    assert "nothing is left to do" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("*.png")}


def test_another_question_under_the_same_name_is_refused(made: Path, done: Path) -> None:
    with pytest.raises(UsageError, match="another model, images, truth or options"):
        run(made, made / "new", runs=done.parents[1], threshold=0.4)


def test_without_a_name_each_question_has_its_own(made: Path, tmp_path: Path) -> None:
    first = run(made, made / "new" / "0.png", runs=tmp_path, name=None)[0]
    second = run(made, made / "new" / "0.png", runs=tmp_path, name=None, threshold=0.3)[0]
    assert first != second
    assert first.name.startswith("tiny-")


def test_an_own_image_is_shown_only_to_the_network_that_never_saw_it(made: Path, tmp_path: Path) -> None:
    folder, code = run(made, made / "xrays", runs=tmp_path)
    assert code == 0
    opened = open_run(made / "runs" / "tiny")
    fold_of = dict(zip(opened.folds()["image_id"], opened.folds()["fold"], strict=True))
    table = read_table(folder / "localization.parquet", LOCALIZATION).to_pylist()
    assert len(table) == 8
    for row in table:
        name = str(Path(row["path"]).relative_to(made / "xrays"))
        assert row["folds"] == [fold_of[name]]
        assert row["unseen"] is True
        assert "in_training_data" not in row["warnings"]


def test_what_every_network_was_trained_on_is_marked_and_left_out(made: Path, tmp_path: Path) -> None:
    """A run of one network on half of the data, as train leaves it."""
    shutil.copytree(made, tmp_path / "made", ignore=shutil.ignore_patterns("localize"))
    path = tmp_path / "made" / "runs" / "tiny"
    values = json.loads((path / "run.json").read_text())
    from magsd_cli.artifacts.runs import write_json_hashed

    write_json_hashed(path / "run.json", values | {"trained": [0], "kind": "train"})
    rows = "".join(f"{k}.png,P,10,10,20,20\n" for k in range(8))
    (tmp_path / "boxes.csv").write_text("path,label,x,y,width,height\n" + rows)
    folder, _ = run(
        tmp_path / "made", tmp_path / "made" / "xrays", runs=tmp_path / "r", boxes=tmp_path / "boxes.csv"
    )
    fold_of = open_run(path).folds().set_index("image_id")["fold"]
    for row in read_table(folder / "localization.parquet", LOCALIZATION).to_pylist():
        own = fold_of[str(Path(row["path"]).relative_to(tmp_path / "made" / "xrays"))] == 0
        assert row["unseen"] is bool(own)
        assert ("in_training_data" in row["warnings"]) == (not own)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["measured"] == (fold_of == 0).sum()
    assert summary["left_out_as_training_data"] == (fold_of != 0).sum()


def test_attention_that_knows_the_place_is_better_than_chance(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes at changing places, attention that follows them: the figures and the words must see it."""
    places = [(0, 0), (40, 0), (0, 40), (40, 40), (20, 20), (40, 20), (20, 40), (0, 20)]
    rows = [f"{k}.png,P,{x},{y},40,40" for k, (x, y) in enumerate(places)]
    (tmp_path / "boxes.csv").write_text("path,label,x,y,width,height\n" + "\n".join(rows) + "\n")
    files = sorted((made / "xrays").rglob("*.png"), key=lambda path: int(path.stem))
    maps = iter(places)

    def knowing(_image: np.ndarray, _folds: tuple[int, ...]) -> Prediction:
        x, y = next(maps)
        attention = np.zeros((1, 80, 80), np.float32)
        attention[0, y : y + 40, x : x + 40] = 1
        return Prediction(np.array([[0.25, 0.75]], np.float32), attention)

    monkeypatch.setattr(stage, "open_attention_engine", lambda *_: knowing)
    folder, _ = run(made, *files, runs=tmp_path, boxes=tmp_path / "boxes.csv")
    figures = json.loads((folder / "summary.json").read_text())["kinds"]["boxes"]["iou"]
    assert figures["mean"] == pytest.approx(1)
    assert figures["controls"]["shuffled"]["mean"] < 0.5
    assert figures["controls"]["whole"]["mean"] == pytest.approx(0.25)
    assert "The attention is better than chance" in capsys.readouterr().err


def test_the_tables_hold_the_same_as_parquet_and_as_csv(done: Path) -> None:
    rows = read_table(done / "localization.parquet", LOCALIZATION).to_pylist()
    plain = pd.read_csv(done / "localization.csv")
    assert plain["path"].tolist() == [row["path"] for row in rows]
    assert plain["pixel_auc"][0] == pytest.approx(rows[0]["pixel_auc"])
    figures = pd.read_csv(done / "figures.csv")
    summary = json.loads((done / "summary.json").read_text())["kinds"]
    boxes = figures[(figures.truth == "boxes") & (figures.measure == "pixel_auc")]
    assert boxes["control"].tolist() == ["whole", "brightness", "shuffled", "untrained"]
    assert boxes["mean"].iloc[0] == pytest.approx(summary["boxes"]["pixel_auc"]["mean"])
    assert not (done / "zones.csv").exists()


def test_zones_are_measured_and_the_films_left_out_are_counted(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"zones": made / "zoned" / "zones.csv", "lungs": made / "lungs"}
    files = sorted((made / "zoned").glob("*.png"))
    folder, code = run(made, *files, runs=tmp_path, map=Map.chosen, box=BoxRule.chosen, **given)
    assert code == 0
    rows = rows_of(folder)
    assert [row["zones_status"] for row in rows.values()] == [
        "measured", "measured", "no_lung_mask", "same_scores",
    ]  # fmt: skip
    table = pd.read_csv(folder / "zones.csv")
    assert table["zone"].tolist() == list("ABCDEF") * 2
    assert table["severity"][:6].tolist() == [0, 1, 2, 3, 0, 1]
    for name, part in zip(("z0.png", "z1.png"), (table[:6], table[6:]), strict=True):
        expected = spearmanr(part["attention"], part["severity"]).statistic
        assert rows[name]["zones"] == pytest.approx(expected, abs=1e-6)
        expected = spearmanr(part["brightness"], part["severity"]).statistic
        assert rows[name]["brightness_zones"] == pytest.approx(expected, abs=1e-6)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["zones"] == {"measured": 2, "no_lung_mask": 1, "same_scores": 1}
    controls = summary["kinds"]["zones"]["correlation"]["controls"]
    assert set(controls) == {"brightness", "shuffled", "untrained"}
    assert controls["shuffled"]["mean"] == pytest.approx(
        np.mean([rows[name]["control_zones"] for name in ("z0.png", "z1.png")])
    )
    said = capsys.readouterr().err
    assert "4 images with scores, 2 of them measured" in said
    assert "1 for no lung mask" in said
    assert "the default: too few images of other folds" in said
    assert "the mean severity of other patients" not in said  # two images choose no order
    panel = cv2.imread(str(folder / "panel.png"))
    assert (panel == (130, 235, 150)).all(axis=2).any()  # the zones' dotted lines


def test_zones_without_lungs_and_the_options_of_another_question(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--zones: .* --lungs DIR"):
        run(made, made / "zoned" / "z0.png", runs=tmp_path, zones=made / "zoned" / "zones.csv")
    run(made, made / "new" / "0.png", runs=tmp_path)
    with pytest.raises(UsageError, match="another model, images, truth or options"):
        run(made, made / "new" / "0.png", runs=tmp_path, box=BoxRule.maximum)


def test_a_model_file_without_class_maps_can_still_choose(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    ask = lambda _image, _folds: Prediction(np.array([[0.25, 0.75]], np.float32), attention)  # noqa: E731
    monkeypatch.setattr(stage, "open_attention_engine", lambda _model, _device: ask)
    folder, _ = run(made, made / "new" / "0.png", runs=tmp_path, map=Map.chosen)
    assert rows_of(folder)["0.png"]["map"] == "attention"


def test_predict_and_localize_say_the_same(made: Path, done: Path) -> None:
    ensemble = load_ensemble(open_run(made / "runs" / "tiny"))
    from magsd_cli.data.clahe import prepare_pixels

    pixels = cv2.imread(str(made / "new" / "0.png"), cv2.IMREAD_GRAYSCALE)
    image = prepare_pixels(pixels, Preprocessing(64))[None, None]
    expected = predict_images(ensemble, image, 1).probabilities[0]
    row = rows_of(done)["0.png"]
    assert [row["p_COVID-19"], row["p_Normal"]] == expected.tolist()


def test_the_evidence_for_the_predicted_class(made: Path, tmp_path: Path) -> None:
    """`--map class` marks the class-aware map of the predicted class, with both engines, and says so."""
    new, runs = made / "new", tmp_path / "runs"
    given: dict[str, Any] = {"runs": runs, "boxes": new / "boxes.csv", "threshold": 0.5}
    plain, _ = run(made, new, **given)
    folder, code = run(made, new, name="evidence", map=Map.evidence, **given)
    assert code == 3
    rows, others = rows_of(folder), rows_of(plain)
    assert [row["predicted"] for row in rows.values()] == [row["predicted"] for row in others.values()]
    ensemble = load_ensemble(open_run(made / "runs" / "tiny"))
    for name in ("0.png", "1.png", "2.png"):
        (view,) = next(view_files([new / name], Preprocessing(64), 1))
        answer = predict_images(ensemble, view.image[None, None], 1, with_attention=True)
        best = int(answer.probabilities[0].argmax())
        region = find_region(answer.class_maps[0, best], view.shape, 0.5)
        assert rows[name]["area_share"] == pytest.approx(region.area_share, abs=0.02)
    assert any(rows[name]["area_share"] != others[name]["area_share"] for name in ("0.png", "1.png", "2.png"))
    assert json.loads((folder / "summary.json").read_text())["map"] == "class"
    assert read_table(folder / "localization.parquet", LOCALIZATION).schema.metadata
    with pytest.raises(UsageError, match="another model, images, truth or options"):
        run(made, new, name="evidence", **given)


def test_a_model_file_without_class_maps_is_refused(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Model files of earlier versions have no such output."""
    ask = lambda _image, _folds: Prediction(np.ones((1, 2), np.float32), np.ones((1, 2, 2), np.float32))  # noqa: E731
    monkeypatch.setattr("magsd_cli.localization.localize.open_attention_engine", lambda _model, _device: ask)
    with pytest.raises(ArtifactError, match="no class-aware maps; export its run again"):
        run(made, made / "new" / "0.png", runs=tmp_path / "runs", map=Map.evidence)


def test_a_network_without_attention_is_refused(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def blind(_image: np.ndarray, _folds: tuple[int, ...]) -> Prediction:
        return Prediction(np.array([[0.25, 0.75]], np.float32), None)

    monkeypatch.setattr(stage, "open_attention_engine", lambda *_: blind)
    with pytest.raises(ArtifactError, match="has no attention maps"):
        run(made, made / "new" / "0.png", runs=tmp_path)
    assert not (tmp_path / "localize" / "here" / "summary.json").exists()


def test_bad_questions(made: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="no files there"):
        run(made, tmp_path / "empty", runs=tmp_path)
    with pytest.raises(NoInputError, match="1 file: none"):
        run(made, made / "new" / "notes.txt", runs=tmp_path)
    with pytest.raises(UsageError, match="--name"):
        run(made, made / "new" / "0.png", runs=tmp_path, name="../x")
    with pytest.raises(UsageError, match="--masks"):
        run(made, made / "new" / "0.png", runs=tmp_path, masks=tmp_path / "gone")
    with lock(tmp_path / "localize" / "busy" / ".lock"), pytest.raises(LockedError):
        run(made, made / "new" / "0.png", runs=tmp_path, name="busy")


def test_names_of_pictures_never_clash(made: Path, tmp_path: Path) -> None:
    for name in ("a/x.png", "b/X.png", "c/x y.png", "d/\u202ex\n.png", "e/x..png"):
        path = tmp_path / "odd" / name
        path.parent.mkdir(parents=True)
        shutil.copy(made / "new" / "0.png", path)
    folder, _ = run(made, tmp_path / "odd", runs=tmp_path)
    names = {path.name.lower() for path in (folder / "overlays").iterdir()}
    assert len(names) == 5
