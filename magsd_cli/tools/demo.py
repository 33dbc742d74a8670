"""`magsd demo`: the six commands on chest phantoms drawn on the spot, in a few minutes on two cores."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.artifacts.files import read_json, write_bytes, write_json, write_text
from magsd_cli.console import say
from magsd_cli.errors import ArtifactError
from magsd_cli.inference.predict import PredictOptions, predict
from magsd_cli.localization.localize import LocalizeOptions, localize
from magsd_cli.preparation.prepare import PrepareOptions, prepare
from magsd_cli.recipe import load_recipe
from magsd_cli.report.report import report
from magsd_cli.runtime.device import choose_devices
from magsd_cli.settings import Preprocessing
from magsd_cli.tools.phantoms import LESIONS, Anatomy, draw_anatomy, draw_phantom
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import cv, train

IMAGES_A_PATIENT = (0.7, 0.2, 0.1)  # shares of patients with one, two, three images
SOURCES = ("phantom clinic 1", "phantom clinic 2")
Row = dict[str, object]


@dataclass(frozen=True)
class Extent:
    """The size of the demo. `settings` are recipe keys (``--set``) on top of recipes/demo.toml."""

    per_class: int = 72
    pixels: int = 160
    cached: int = 64
    folds: int = 2  # one for each process: a third would take as long again
    new: int = 12
    train_epochs: int = 2
    processes: int = 2  # folds side by side where there is no GPU
    settings: tuple[str, ...] = ()


def demo(
    *,
    runs: Path,
    device: str = "auto",
    extent: Extent | None = None,
    seed: int = 0,
    command: tuple[str, ...] = (),
) -> Path:
    """Draw phantoms and run prepare, train, cv, predict, localize and report on them; return the report.

    Everything goes under `runs`. Each command is announced by the line that a user would type; the runs keep
    `command`. What an earlier demo finished is not done again. Raises what the commands raise.
    """
    extent = extent or Extent()
    folder = runs / "demo"
    known, new = folder / "phantoms", folder / "new"
    _draw(folder, extent, seed)
    size, settings = extent.cached, [f"seed={seed}", *extent.settings]
    recipe = load_recipe("demo", settings)
    quick = [*settings, f"train.epochs={extent.train_epochs}", "train.warmup_epochs=0"]
    settings_words = [word for text in settings for word in ("--set", text)]

    _announce(runs, "prepare", known, "--size", size)
    cache, _ = prepare(PrepareOptions([known], runs, preprocessing=Preprocessing(size)))
    more = ["--set", quick[-2], "--set", quick[-1], *_device(device)]
    _announce(runs, "train", "--recipe", "demo", *settings_words, *more)
    options = RunOptions(runs, cache, device=device, command=command)
    train(replace(options, recipe=load_recipe("demo", quick), name=f"demo-train-{seed}"))
    beside = choose_devices(device)[0].type == "cpu" and extent.processes > 1
    sharing = ["--device", "cpu", "--gpus", extent.processes] if beside else _device(device)
    _announce(runs, "cv", "--recipe", "demo", "--folds", extent.folds, *settings_words, *sharing)
    if beside:
        options = replace(options, device="cpu", gpus=extent.processes)
    run = cv(replace(options, recipe=recipe, name=f"demo-cv-{seed}", folds=extent.folds))
    table = folder / f"predictions-{seed}.parquet"
    again = table.exists()
    _announce(runs, "predict", new, "--model", run, "--out", table, *(["--resume"] if again else []))
    predict(PredictOptions([new], run, runs, table, resume=again, device=device))
    boxes, masks = known / "boxes.csv", known / "masks"
    name = f"demo-{seed}"
    words = ["--model", run, "--boxes", boxes, "--masks", masks, "--name", name]
    _announce(runs, "localize", known / "images", *words)
    localize(LocalizeOptions([known / "images"], run, runs, boxes, masks, name=name, device=device))
    _announce(runs, "report", run)
    return report(runs_given=[run], runs=runs)


def _device(device: str) -> list[str]:
    return [] if device == "auto" else ["--device", device]


def _announce(runs: Path, *words: object) -> None:
    place = [] if str(runs) == "runs" else ["--runs", str(runs)]
    say(f"$ {shlex.join(['magsd', *(str(word) for word in words), *place])}")


def _draw(folder: Path, extent: Extent, seed: int) -> None:
    """The phantom set and a few more, unlabelled ones; nothing when they are there already."""
    about = {"seed": seed, "per_class": extent.per_class, "pixels": extent.pixels, "new": extent.new}
    stamp = folder / "phantoms.json"
    if stamp.exists():
        if read_json(stamp) != about:
            raise ArtifactError(
                f"{folder}: holds other phantoms ({stamp.name}); remove the folder or choose another --runs"
            )
        return
    say(f"demo: drawing {extent.per_class * len(LESIONS)} chest phantoms into {folder}")
    rng = np.random.default_rng([seed, extent.per_class])
    write_phantom_set(folder / "phantoms", extent.per_class, rng, extent.pixels)
    for number in range(extent.new):
        label = list(LESIONS)[number % len(LESIONS)]
        pixels, _ = draw_phantom(label, rng, extent.pixels)
        write_bytes(folder / "new" / f"new-{number:03d}.png", _png(pixels))
    write_json(stamp, about)


def write_phantom_set(folder: Path, per_class: int, rng: np.random.Generator, size: int) -> Path:
    """Write a labelled set of phantoms with known lesions into `folder`; return its metadata.csv.

    ``images/<class>/*.png``, ``masks/<class>/*.png`` (0/255, lesions only), ``boxes.csv`` (one box around
    the lesion of each Pneumonia, in pixels) and, last, ``metadata.csv`` with patients of one to three images,
    sex, age, view and two sources that have nothing to do with the class.
    """
    rows: list[Row] = []
    boxes: list[Row] = []
    for label in LESIONS:
        for stem, patient, person in _sittings(label, per_class, rng):
            pixels, mask = draw_phantom(label, rng, size, person)
            place = f"{label}/{stem}.png"
            write_bytes(folder / "images" / place, _png(pixels))
            rows.append({"path": f"images/{place}", "label": label, **patient})
            if mask.any():
                write_bytes(folder / "masks" / place, _png(mask))
            if label == "Pneumonia" and mask.any():
                boxes.append({"path": f"images/{place}", "label": label, **_box(mask)})
    write_text(folder / "boxes.csv", _csv(boxes))
    write_text(folder / "metadata.csv", _csv(rows))
    return folder / "metadata.csv"


def _sittings(label: str, count: int, rng: np.random.Generator) -> Iterator[tuple[str, Row, Anatomy]]:
    """(file stem, patient's columns, anatomy) for `count` images of a class."""
    made = number = 0
    while made < count:
        number += 1
        person = draw_anatomy(rng)
        patient: Row = {
            "patient_id": f"{label[:3].lower()}-{number:04d}",
            "sex": str(rng.choice(["F", "M"])),
            "age": int(rng.integers(20, 90)),
            "view": str(rng.choice(["PA", "AP"])),
            "source": str(rng.choice(SOURCES)),
        }
        for _ in range(min(count - made, 1 + int(rng.choice(3, p=IMAGES_A_PATIENT)))):
            yield f"{label.lower()}-{made:04d}", patient, person
            made += 1


def _box(mask: npt.NDArray[np.uint8]) -> Row:
    x, y, width, height = cv2.boundingRect(mask)
    return {"x": x, "y": y, "width": width, "height": height}


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", pixels)
    assert done
    return data.tobytes()


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["path", "label", "x", "y", "width", "height"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
