"""What a reader must know before the figures: leaks, shortcuts, and what a coin would have reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magsd_cli.reporting.document import Caution

#: From this share on, a source's images are of one class for all purposes.
ONE_CLASS = 0.95


@dataclass(frozen=True)
class Grouping:
    """How well patients were kept together: images without a patient, all images, patients in two folds."""

    unknown: int
    images: int
    split_patients: int


def grouping_cautions(grouping: Grouping) -> list[Caution]:
    """Whether a network may have been tested on patients that it was trained on."""
    found = []
    if grouping.split_patients:
        found.append(
            f"{grouping.split_patients} patients have images in more than one fold, so networks were tested "
            "on patients that they were trained on. The figures below are too good and must not be quoted."
        )
    if grouping.unknown == grouping.images:
        found.append(
            "Which images belong to the same patient is not known, so folds could not keep patients "
            "together. A network may have been tested on a patient that it was trained on; the figures may "
            "be too good."
        )
    elif grouping.unknown:
        found.append(
            f"For {grouping.unknown} of {grouping.images} images the patient is not known; each was treated "
            "as a patient of its own. If some show the same patient, the figures may be too good."
        )
    return [Caution(text) for text in found]


def source_caution(labels: Sequence[str], sources: Sequence[str]) -> Caution | None:
    """Says, in a clinician's words, when the class can be told from where an image came from.

    labels and sources: one each an image, "" for an unknown source. None when there is no such shortcut, or
    all images come from one source.
    """
    label, source = np.asarray(labels, object), np.asarray(sources, object)
    if len(set(source)) < 2:
        return None
    telling = [name for name in sorted(set(label)) if _comes_alone(label, source, name)]
    if not telling:
        return None
    details = "; ".join(f"{name}: {_in_words(source[label == name])}" for name in sorted(set(label)))
    classes = " and ".join(telling) if len(telling) < 3 else ", ".join(telling)
    return Caution(
        f"The images of {classes} come from other sources than the rest ({details}). A network can then tell "
        "these classes apart by the scanner, the hospital or the picture's processing, without looking at "
        "the lungs at all. The figures below therefore do not show how well disease is recognised; only "
        "images of all classes from one and the same source can show that."
    )


def _comes_alone(label: np.ndarray, source: np.ndarray, name: str) -> bool:
    """Whether nearly all images of class `name` come from sources that hold nearly nothing else."""
    own = [s for s in set(source) if np.mean(label[source == s] == name) >= ONE_CLASS]
    return bool(own) and float(np.mean(np.isin(source[label == name], own))) >= ONE_CLASS


def _in_words(sources: np.ndarray) -> str:
    names, counts = np.unique(sources.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return ", ".join(f"{names[i] or 'source unknown'} {counts[i]}" for i in order)


def baseline_caution(accuracy: float | None, majority: float, name: str) -> Caution | None:
    """Says when calling every image by the commonest class would have been as accurate."""
    if accuracy is None or accuracy > majority:
        return None
    return Caution(
        f"Calling every image {name}, the commonest class, would be right in {100 * majority:.2f} % of the "
        f"images. The networks were right in {100 * accuracy:.2f} %: they are no better than that."
    )


def size_caution(counts: dict[str, int], least: int = 30) -> Caution | None:
    """Says when a class has so few images that its figures mean little."""
    small = [f"{name} ({count})" for name, count in counts.items() if count < least]
    if not small:
        return None
    return Caution(
        f"Few images were tested of {', '.join(small)}: figures on fewer than {least} images change much "
        "with a single image."
    )
