"""The report's words about localization: an honest sentence, the table, where thresholds are from."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from magsd_cli.localization.pictures import iou_histogram
from magsd_cli.localization.scores import figures_by_kind
from magsd_cli.localization.words import choice_words, sentence, threshold_words, zones_words
from magsd_cli.render.document import Bullets, Caution, Figure
from magsd_cli.report.sections.localization import localization_blocks, localization_table


def box_row(iou: float, control: float, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "status": "ok", "unseen": True, "truth": "boxes", "patient_id": "", "iou_box": iou, "iou_mask": iou,
        "pointing_hit": True, "threshold": 0.5, "threshold_from": "chosen", "threshold_images": 12,
    }  # fmt: skip
    for prefix in ("control_", "untrained_"):
        names = ("iou_box", "iou_mask", "over_0.25", "over_0.5", "pointing")
        row |= {f"{prefix}{name}": control for name in names}
    return row | more


def zone_row(correlation: float, control: float, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "status": "ok", "unseen": True, "truth": None, "patient_id": "", "zones": correlation,
        "zones_status": "measured", "constant_zones": control, "brightness_zones": control,
        "threshold": 0.5, "threshold_from": "default", "threshold_images": None, "readers_zones": 0.75,
    }  # fmt: skip
    return row | more


def lung_row(inside: float, share: float) -> dict[str, Any]:
    return {
        "status": "ok", "unseen": True, "truth": None, "patient_id": "", "lungs_inside": inside,
        "lungs_share": share, "control_lungs": share, "untrained_lungs": share,
        "threshold": 0.5, "threshold_from": "default", "threshold_images": None,
    }  # fmt: skip


def words(rows: list[dict[str, Any]]) -> str:
    return " ".join(sentence(kind, figures) for kind, figures in figures_by_kind(rows).items())


def test_better_worse_and_not_shown_are_said_so() -> None:
    better = words(4 * [box_row(0.6, 0.1), box_row(0.7, 0.1), box_row(0.65, 0.1)])
    assert "mean IoU 65.0% [" in better
    assert "10.0% for other patients' attention" in better
    assert "The attention is better than chance." in better
    assert "100.0% [" in better  # the pointing game, with Wilson's bound
    worse = words(4 * [box_row(0.1, 0.6), box_row(0.2, 0.6), box_row(0.15, 0.6)])
    assert "NOT better than chance: it is worse than" in worse
    level = words([box_row(0.1, 0.6), box_row(0.6, 0.1), box_row(0.15, 0.2)])
    assert "NOT shown to be better than chance" in level


def test_one_control_that_is_not_beaten_is_enough_to_doubt() -> None:
    rows = 4 * [box_row(iou, 0.1, untrained_iou_box=iou + 0.1) for iou in (0.5, 0.6, 0.7)]
    assert "worse than untrained networks" in words(rows)


def test_lungs_are_compared_with_their_share_of_the_image() -> None:
    rows = [lung_row(0.5, 0.3), lung_row(0.6, 0.4), lung_row(0.5, 0.35)]
    assert "share of the attention inside the lungs 53.3% [" in words(rows)
    assert "35.0% for the lungs' share of the image" in words(rows)
    table = localization_table(rows)
    assert table is not None
    assert table.rows[0][0] == "Lungs (3), attention inside"
    assert table.rows[0][2:4] == ("the lungs' share of the image", "35.0")


def test_only_unseen_images_count_and_the_unknown_are_flagged() -> None:
    rows = [box_row(0.6, 0.1), box_row(0.2, 0.1), box_row(1.0, 0.1, unseen=False)]
    table = localization_table(rows)
    assert table is not None
    name, mean, control, of_control, gain, _ = table.rows[0]
    assert (name, control, of_control) == ("Boxes (2), IoU", "other patients' attention", "10.0")
    assert mean.startswith("40.0 [")
    assert gain.startswith("+30.0 [")
    assert [row[0] for row in table.rows[1:] if row[0]] == [
        "Boxes (2), IoU over 0.25",
        "Boxes (2), IoU over 0.5",
        "Boxes (2), pointing game",
    ]
    blocks = localization_blocks("x", [*rows, box_row(0.5, 0.1, unseen=None)], None, 0)
    assert "1 of them were trained on" in str(blocks[1])
    assert any(isinstance(block, Caution) for block in blocks)


def test_without_truth_it_says_so() -> None:
    rows = [box_row(0.6, 0.1, unseen=False), box_row(0, 0, truth=None)]
    assert localization_table(rows) is None
    text = " ".join(str(block) for block in localization_blocks("x", rows, None, 0))
    assert "n/a" in text
    assert "1 of them were trained on" in text


def test_where_the_thresholds_are_from() -> None:
    chosen = [box_row(0.5, 0.1, threshold=t, threshold_images=n) for t, n in ((0.4, 12), (0.6, 14))]
    assert "threshold 0.40 to 0.60" in threshold_words(chosen)["boxes"]
    assert "on the 12 to 14 images of the other folds alone" in threshold_words(chosen)["boxes"]
    default = [box_row(0.5, 0.1, threshold_from="default", threshold_images=None)]
    assert "the default" in threshold_words(default)["boxes"]
    assert "as given" in threshold_words([box_row(0.5, 0.1, threshold_from="given")])["boxes"]
    assert threshold_words([box_row(0.5, 0.1, threshold_from=None)]) == {}  # of an earlier version


def test_histogram_and_panel_are_in_the_report() -> None:
    rows = [box_row(iou, 0.1) for iou in (0.1, 0.2, 0.3, 0.7)]
    drawing = iou_histogram(rows)
    assert drawing is not None
    assert cv2.imdecode(np.frombuffer(drawing.png, np.uint8), cv2.IMREAD_COLOR).shape[1] > 300
    blocks = localization_blocks("x", rows, b"panel", 1)
    figures = {block.name: block.drawing.png for block in blocks if isinstance(block, Figure)}
    assert figures["localization-2-panel"] == b"panel"
    assert "localization-2-iou" in figures
    assert sum(isinstance(block, Bullets) for block in blocks) == 1
    assert iou_histogram([lung_row(0.5, 0.3)]) is None


def test_zones_are_told_in_correlations_not_in_percent() -> None:
    rows = [zone_row(value, 0.5, patient_id=str(k)) for k, value in enumerate(4 * (0.1, 0.3, 0.2))]
    text = words(rows)
    assert "over the six zones 0.20 [0.1" in text
    assert "against 0.50 for the mean severity of other patients' zones (difference -0.30 [" in text
    assert "it is worse than the mean severity of other patients' zones and the film's own brightness" in text
    assert "Two readers of the same zones have a rank correlation of 0.75 (12 images)." in text
    table = localization_table(rows)
    assert table is not None
    assert table.rows[0][2:4] == ("mean severity of others", "0.50")
    more = [*rows, zone_row(0, 0, zones=None, zones_status="no_lung_mask")]
    said = " ".join(str(block) for block in localization_blocks("x", more, None, 0))
    assert "13 images with scores, 12 of them measured; left out: 1 for no lung mask." in said
    assert "three equal heights" in said
    assert zones_words({"measured": 2}).endswith("2 of them measured.")


def test_what_was_chosen_is_said() -> None:
    rows = [
        box_row(0.5, 0.1, map=name, box_rule="maximum", chosen_on=count)
        for name, count in (("class", 20), ("class", 24), ("attention", 22))
    ]
    said = choice_words(rows, "chosen", "chosen")["boxes"]
    assert "marked is the evidence for the predicted class (2 images)" in said
    assert " or the mean attention (1 image)," in said
    assert "the box is around the part with the maximum (3 images)" in said
    assert "chosen for each fold on the 20 to 24 images of the other folds alone" in said
    assert choice_words(rows, "attention", "largest") == {}
    few = [box_row(0.5, 0.1, map="attention", box_rule="largest", chosen_on=None)]
    assert "the default: too few" in choice_words(few, "chosen", "largest")["boxes"]
    text = " ".join(str(block) for block in localization_blocks("x", rows, None, 0, "chosen", "chosen"))
    assert "it means the map that was chosen" in text
