"""The settings that several rooms share, and each word that an option may take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: The last line of each Markdown page that `magsd report` writes, by which it knows its own.
REPORT_MARK = "<!-- written by magsd report -->"
#: What its HTML pages have in their head, for the same.
HTML_MARK = '<meta name="generator" content="magsd report">'


@dataclass(frozen=True)
class Preprocessing:
    """What every image goes through before a network: resized to `size` pixels a side, then CLAHE or not."""

    size: int = 224
    clahe: bool = True
    clip_limit: float = 4.0
    tiles: int = 4


class Parallel(StrEnum):
    """What several devices share: the folds, or each network's batches."""

    folds = "folds"
    ddp = "ddp"


class Network(StrEnum):
    """Which networks of a run answer: those of its folds, or the one that was trained on all images."""

    folds = "folds"
    refit = "refit"


class Map(StrEnum):
    """What localize marks: where the network attends, or its evidence for the predicted class.

    `chosen`: whichever of the two fits the truth of the other folds' images better.
    """

    attention = "attention"
    evidence = "class"
    chosen = "chosen"


class BoxRule(StrEnum):
    """Which connected part of the marked region the box encloses; `chosen` as for a map."""

    largest = "largest"
    maximum = "maximum"
    chosen = "chosen"


class LogFormat(StrEnum):
    """How lines on stderr look."""

    text = "text"
    json = "json"


class Layout(StrEnum):
    """How a source folder is laid out."""

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
    """What a fold holds out."""

    patient = "patient"
    source = "source"


class View(StrEnum):
    """Which views are used."""

    frontal = "frontal"
    all = "all"


class Engine(StrEnum):
    """What runs the network in predict."""

    auto = "auto"
    torch = "torch"
    onnxruntime = "onnxruntime"


class By(StrEnum):
    """What predict answers about beside each image."""

    study = "study"
