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
    """The preparation of every image for a network: resized to `size` pixels a side, then CLAHE or not."""

    size: int = 224
    clahe: bool = True
    clip_limit: float = 4.0
    tiles: int = 4


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
