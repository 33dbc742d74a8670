"""The settings that several rooms share, and each word that an option may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

#: The last line of each Markdown page that `magsd report` writes, by which it knows its own.
REPORT_MARK = "<!-- written by magsd report -->"
#: What its HTML pages have in their head, for the same.
HTML_MARK = '<meta name="generator" content="magsd report">'


class Lungs(StrEnum):
    """What of a film is kept: all of it, the box around both lungs, or in that box the lungs alone."""

    none = "none"
    crop = "crop"
    mask = "mask"


@dataclass(frozen=True)
class Preprocessing:
    """The preparation of every image for a network: cut to its lungs or not, resized to `size` pixels a
    side, then CLAHE or not.

    `lung_network`: the SHA-256 of the network that finds the lungs, "" where they are not asked for;
    `lung_file`: where that network is read from, its own file or a model file (docs/lungs.md).
    """

    size: int = 224
    clahe: bool = True
    clip_limit: float = 4.0
    tiles: int = 4
    lungs: Lungs = Lungs.none
    lung_network: str = ""
    lung_file: Path | None = field(default=None, compare=False)

    def values(self) -> dict[str, Any]:
        """What it is as plain values: what hashes and attributes hold. Without lungs as it always was."""
        plain = {"size": self.size, "clahe": self.clahe, "clip_limit": self.clip_limit, "tiles": self.tiles}
        if self.lungs == Lungs.none:
            return plain
        return {**plain, "lungs": self.lungs.value, "lung_network": self.lung_network}


def preprocessing_from(values: Mapping[str, Any], lung_file: Path | None = None) -> Preprocessing:
    """What `Preprocessing.values` gave, back again. Raises `KeyError`, `TypeError`, `ValueError`."""
    lungs = Lungs(str(values.get("lungs", Lungs.none)))
    return Preprocessing(
        int(values["size"]),
        bool(values["clahe"]),
        float(values["clip_limit"]),
        int(values["tiles"]),
        lungs,
        str(values.get("lung_network", "")),
        None if lungs == Lungs.none else lung_file,
    )


class Parallel(StrEnum):
    """The work that several devices share: the folds, or each network's batches."""

    folds = "folds"
    ddp = "ddp"


class Network(StrEnum):
    """The networks of a run that answer: those of its folds, or the one that was trained on all images."""

    folds = "folds"
    refit = "refit"


class Map(StrEnum):
    """The map that localize marks: attention, or the evidence for the predicted class.

    `chosen`: whichever of the two fits the truth of the other folds' images better.
    """

    attention = "attention"
    evidence = "class"
    chosen = "chosen"


class BoxRule(StrEnum):
    """The connected part of the marked region that the box encloses; `chosen` as for a map."""

    largest = "largest"
    maximum = "maximum"
    chosen = "chosen"


class LogFormat(StrEnum):
    """The form of lines on stderr."""

    text = "text"
    json = "json"


class Layout(StrEnum):
    """The layout of a source folder."""

    auto = "auto"
    folder = "folder"
    csv = "csv"
    chestxray8 = "chestxray8"
    covid_chestxray = "covid-chestxray"
    v7 = "v7"
    kermany = "kermany"
    figure1 = "figure1"
    bimcv = "bimcv"


class Group(StrEnum):
    """The images that a fold holds out."""

    patient = "patient"
    source = "source"


class View(StrEnum):
    """The views that are used."""

    frontal = "frontal"
    all = "all"


class Engine(StrEnum):
    """The library that runs the networks in predict."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"


class By(StrEnum):
    """The unit that predict answers about, beside each image."""

    study = "study"
