"""The shortcut audit on phantoms, which have no shortcut, and on real X-rays, which are known to have one."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from facts import some_facts

from magsd_cli.artifacts.cache import FRAME_COLUMNS, SAMPLE_COLUMNS, open_cache, write_cache
from magsd_cli.data.clahe import prepare_pixels
from magsd_cli.data.decode import read_image
from magsd_cli.evaluation.shortcuts import BORDER_VIEW, FRAME_VIEW, OTHERS, ShortcutAudit, audit_shortcuts
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.render.document import Table
from magsd_cli.report.sections.shortcuts import shortcut_cautions, shortcut_section
from magsd_cli.settings import Lungs, Preprocessing
from magsd_cli.tools.phantoms import COVID, NORMAL, PNEUMONIA, draw_phantom
from magsd_cli.training.folds import make_folds

CLASSES = (COVID, NORMAL, PNEUMONIA)
REAL = Path(__file__).parents[3] / "shared/data/cxr"
SIZE = 64


def _audit(
    folder: Path,
    images: list[np.ndarray],
    about: pd.DataFrame,
    how: Preprocessing = Preprocessing(SIZE),  # type: ignore[type-arg]
) -> ShortcutAudit:
    """The audit over five folds; about: label, patient_id, source of each image [S,S], where it is cut."""
    count = len(images)
    frame = pd.DataFrame({column: [""] * count for column in SAMPLE_COLUMNS})
    frame = frame.assign(
        image_id=[f"i{i}" for i in range(count)], path="x", sha256=[f"{i:064d}" for i in range(count)],
        status="ok", warnings=[[] for _ in range(count)], width=SIZE, height=SIZE, index=range(count),
    )  # fmt: skip
    given = [name for name in about if name in (*SAMPLE_COLUMNS, *FRAME_COLUMNS)]
    frame = frame.assign(**{name: list(about[name]) for name in given})
    pixels = np.stack(images)[:, None]
    cache = open_cache(write_cache(folder, "audit", frame.to_dict("records"), [pixels], CLASSES, how))
    truth = np.array([CLASSES.index(label) for label in frame["label"]])
    patients = tuple(frame["patient_id"])
    predictions = Predictions(
        tuple(frame["image_id"]),
        truth,
        np.eye(3)[truth],
        make_folds(truth, patients, 5, 0),
        patients,
        CLASSES,
    )
    results: Any = SimpleNamespace(predictions=predictions, tested=frame)
    return audit_shortcuts(results, cache)


def _phantoms(count: int) -> tuple[list[np.ndarray], pd.DataFrame]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    labels = [CLASSES[i % 3] for i in range(count)]
    images = [prepare_pixels(draw_phantom(label, rng, SIZE)[0], Preprocessing(SIZE)) for label in labels]
    about = pd.DataFrame({"label": labels, "patient_id": [f"p{i}" for i in range(count)]})
    return images, about.assign(source=[("north", "south")[i // 3 % 2] for i in range(count)])


def test_phantoms_have_no_shortcut(tmp_path: Path) -> None:
    images, about = _phantoms(150)
    found = _audit(tmp_path, images, about)
    assert shortcut_cautions(found.by_class, CLASSES) == []
    assert [shortcut.lungless for shortcut in found.by_class] == [True, True, False]
    assert found.sources == ("north", "south")
    assert "a rounded rectangle over the middle" in found.removed
    assert found.association is not None
    assert found.association.corrected < 0.1


def test_a_mark_of_the_source_on_phantoms_is_found(tmp_path: Path) -> None:
    images, about = _phantoms(120)
    marked = about["label"] == COVID
    for image in [image for image, mark in zip(images, marked, strict=True) if mark]:
        image[:3, -8:] = 255
    about = about.assign(source=["north" if mark else f"south {i % 24}" for i, mark in enumerate(marked)])
    found = _audit(tmp_path, images, about)
    (caution,) = shortcut_cautions(found.by_class, CLASSES)
    assert "the border of the picture alone it recognises COVID-19" in caution.text
    assert "the picture with the lungs removed it recognises COVID-19" in caution.text
    assert found.sources == ("north", OTHERS)
    assert found.by_source[0].areas[0] > 0.95


def test_a_crop_that_differs_by_class_is_a_shortcut(tmp_path: Path) -> None:
    """One class has larger boxes, and lungs that are often not found; the pixels give nothing away."""
    images, about = _phantoms(150)
    rng = np.random.default_rng(0)
    wide = [30 + 8 * (label == COVID) + int(rng.integers(4)) for label in about["label"]]
    box: dict[str, list[float]] = {
        "frame_x": [10.0] * 150, "frame_y": [5.0] * 150, "frame_width": list(map(float, wide)),
        "frame_height": [50.0] * 150,
    }  # fmt: skip
    about = about.assign(**box)
    lost = np.flatnonzero(about["label"] == PNEUMONIA)[::5]
    about.loc[lost, list(FRAME_COLUMNS)] = np.nan
    how = Preprocessing(SIZE, lungs=Lungs.crop, lung_network="f" * 64)
    found = _audit(tmp_path, images, about, how)
    assert [shortcut.view for shortcut in found.by_class] == [BORDER_VIEW, "an 8x8 thumbnail", FRAME_VIEW]
    (caution,) = shortcut_cautions(found.by_class, CLASSES)
    assert f"from {FRAME_VIEW} it recognises COVID-19" in caution.text
    covid, normal, pneumonia = found.frames
    assert (covid.whole, normal.whole, pneumonia.whole) == (0, 0, 10)
    assert covid.means is not None
    assert normal.means is not None
    assert covid.means[2] - normal.means[2] == pytest.approx(8 / SIZE, abs=0.01)
    assert "the border is the 4% around them" in found.removed
    tables = [
        b for b in shortcut_section(some_facts(shortcuts=found, classes=CLASSES)) if isinstance(b, Table)
    ]
    table = tables[-1]
    assert table.head[:3] == ("class", "films", "kept whole")
    assert table.rows[2][:2] == (PNEUMONIA, "50")
    assert table.rows[2][2].startswith("20.0 [")


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/cxr is not here")
def test_the_known_shortcut_of_real_films_is_found(tmp_path: Path) -> None:
    with (REAL / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for i, row in enumerate(csv.DictReader(file)) if row["label"] == COVID or i % 4 == 0]
    images = [prepare_pixels(read_image(REAL / row["path"]).pixels, Preprocessing(SIZE)) for row in rows]
    found = _audit(tmp_path, images, pd.DataFrame(rows))
    (caution,) = shortcut_cautions(found.by_class, CLASSES)
    assert "the picture with the lungs removed it recognises COVID-19" in caution.text
    assert found.association is not None
    assert found.association.interval.low is not None
    assert found.association.interval.low > 0.5
