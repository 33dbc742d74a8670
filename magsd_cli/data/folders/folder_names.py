"""The meaning of a folder's name: a part of a collection, masks, one patient, or (anything else) a class.

``train/COVID/1.png`` is of class COVID, not of class train; ``COVID/masks/1.png`` is not a film.
Their words tell: ``stage_2_train_images``, ``TrainData`` and ``fold0`` are parts as ``train`` is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import PurePath

from magsd_cli.data.missing_words import is_missing


class Kind(Enum):
    """The kind of content that a folder has by its name."""

    PART = "part"  # a split, a fold, a batch
    SITE = "site"  # a hospital, a scanner
    IMAGES = "images"
    PATIENT = "patient"
    MASKS = "masks"
    DRAWINGS = "drawings"  # overlays, annotations: a film with something drawn on it, or no picture
    UNKNOWN = "unknown"  # a word for "nothing is known"
    CLASS = "class"


SPLIT = re.compile(
    r"(train|training|trn|test|testing|tst|val|valid|validation|dev|development|eval|evaluation|holdout|heldout|"
    r"trainval|unseen)(set|data|dataset|images?|imgs?|split|fold)?\d*"
)

NUMBERED = re.compile(
    r"(fold|split|part|batch|chunk|shard|set|subset|volume|vol|disk|disc|cd|dvd|archive|zip|day|week|month|year|"
    r"run|round)s?(\d+|[a-z])?"
)

DATE = re.compile(r"(19|20)\d\d(\W?(0[1-9]|1[0-2])(\W?\d\d)?)?")

SITES = (
    *("site", "hospital", "clinic", "center", "centre", "institution", "institute", "location", "scanner"),
    *("vendor", "machine", "device", "country", "city", "source", "cohort", "campus"),
)

SITE = re.compile(rf"({'|'.join(SITES)})s?(\d+|[a-z]|i+|iv|v)?")
HOSPITALS = {"hospital", "clinic", "klinik", "klinikum", "krankenhaus", "ospedale", "hôpital", "hopital"}

PATIENT = re.compile(
    r"(patient|pat|subject|subj|sub|case|person|study|series|exam|visit|session|ses|pid|p|s)[\W_]*\d+([\W_].*)?"
    r"|sub-\w+|ses-\w+|\d+(\.\d+){2,}|\d{5,}|(?=[a-z]*\d)[0-9a-f]{12,}"  # UIDs, accession numbers, hashes
)

_IMAGES_WORDS = """
    image images img imgs pic pics picture pictures photo photos xray xrays radiograph radiographs film
    films scan scans cxr cxrs chest dicom dicoms dcm png pngs jpg jpgs jpeg jpegs tif tiff bmp data
    dataset datasets database files raw original originals processed preprocessed resized cropped
    enhanced augmented input inputs samples
"""

IMAGES = {*_IMAGES_WORDS.split()}
DATA = {"data", "dataset", "datasets", "database"}
MASKS = re.compile(r".*masks?|segmentations?|segs?|segmaps?|labelmaps?|gt|groundtruth|truth")
LABELS = {"label", "labels"}

_DRAWINGS_WORDS = """
    annotation annotations annotated overlay overlays contour contours outline outlines roi rois bbox
    bboxes box boxes heatmap heatmaps gradcam cam cams saliency attention visualization visualizations
    visualisation visualisations thumbnail thumbnails thumbs preview previews
"""

DRAWINGS = {*_DRAWINGS_WORDS.split()}


@dataclass(frozen=True)
class Place:
    """The facts in the names of the folders above a file: class, part of the collection, site, kind.

    `kind` is CLASS for a film, MASKS or DRAWINGS for what is none; `key` are the folders without those of
    masks and images: a mask and its film have the same.
    """

    label: str | None
    split: str
    site: str
    kind: Kind
    key: tuple[str, ...]


def place_of(folders: Sequence[str], collections: Collection[tuple[str, ...]] = ()) -> Place:
    """Read the folders between a source and a file, from the top.

    `collections` are folders, as their names from the top, that hold both images and masks.
    """
    label: str | None = None
    parts, key = [], []
    site, kind, known = "", Kind.CLASS, True
    for depth, name in enumerate(folders, start=1):
        found = Kind.IMAGES if tuple(folders[:depth]) in collections else kind_of(name)
        if found in (Kind.MASKS, Kind.DRAWINGS):
            kind = found
            continue
        if found is not Kind.IMAGES or name_number(name):
            key.append(name)
        if label is None and known:
            if found is Kind.CLASS or found is Kind.UNKNOWN:
                label = name
            elif found is Kind.PATIENT:
                known = False  # what lies below one patient's folder are views and studies, not classes
            elif found is Kind.SITE:
                site = name
            elif found is Kind.PART or name_number(name):
                parts.append(name)
    return Place(label, "/".join(parts) or site, site, kind, tuple(key))


def collections_among(places: Iterable[Sequence[str]]) -> set[tuple[str, ...]]:
    """Folders that are called masks or segmentation and hold a folder of images: they hold both."""
    return {
        tuple(folders[: depth + 1])
        for folders in places
        for depth, name in enumerate(folders)
        if kind_of(name) is Kind.MASKS
        and any(kind_of(below) is Kind.IMAGES for below in folders[depth + 1 :])
    }


@lru_cache(4096)
def kind_of(name: str) -> Kind:
    """Return the kind of content that a folder of this name has."""
    words = _words(name)
    joined = "".join(words)
    collection = DATA.intersection(words)  # "Lung Segmentation Data" is a collection
    masked = any(MASKS.fullmatch(word) for word in words) or "groundtruth" in joined
    part = any(SPLIT.fullmatch(word) for word in words) or NUMBERED.fullmatch(joined) or _is_fold(words)
    numbers = joined.isdigit()
    told = (
        (Kind.MASKS, (masked and not collection) or (words and LABELS.issuperset(words))),
        (Kind.DRAWINGS, DRAWINGS.intersection(words) and not collection),
        (Kind.PART, part or DATE.fullmatch(name.strip())),
        (Kind.SITE, SITE.fullmatch(joined) or HOSPITALS.intersection(words)),
        (Kind.IMAGES, masked and collection),
        (Kind.IMAGES, words and not numbers and all(word in IMAGES or word.isdigit() for word in words)),
        (Kind.PATIENT, PATIENT.fullmatch(name.strip().lower())),
        (Kind.UNKNOWN, is_missing(name)),
    )
    return next((kind for kind, found in told if found), Kind.CLASS)


def name_number(name: str) -> bool:
    """Return whether a number distinguishes this folder from others of its kind, as in ``images_001``."""
    return any(character.isdigit() for character in name)


def is_mask_file(name: str) -> bool:
    """Return whether a file name marks a mask: ``x_mask.png``, ``mask-x.png``."""
    words = _words(PurePath(name).stem)
    return len(words) > 1 and any(re.fullmatch(r"masks?", word) for word in (words[0], words[-1]))


def bare_stem(name: str) -> str:
    """A file's name without its ending and without the words that make it a mask's, in lower case."""
    stem = PurePath(name).stem
    words = r"(lungs?|lesions?|infections?|left|right)?[\W_]*(masks?|seg|segmentation|labels?|gt)"
    bare = re.sub(rf"[\W_]+{words}$|^{words}[\W_]+", "", stem, flags=re.IGNORECASE)
    return (bare or stem).casefold()


def _is_fold(words: Sequence[str]) -> bool:
    return any(re.fullmatch(r"(cv)?folds?\d*", word) for word in words)


def _words(name: str) -> list[str]:
    """The words of a name in lower case: "TrainData_v2" is train, data, v2."""
    joined = re.sub(r"x[\W_]?ray", "xray", name, flags=re.IGNORECASE)
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", joined)
    return parted.lower().split()
