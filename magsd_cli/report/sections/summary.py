"""The first lines of a report: what this is, every warning, the headline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from magsd_cli import __version__
from magsd_cli.evaluation.facts import Facts, Run
from magsd_cli.metrics.predictions import Predictions
from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Caution,
    Heading,
    Link,
    Paragraph,
    mean_and_deviation,
)
from magsd_cli.report.sections.shortcuts import shortcut_cautions

#: From this share on, a source's images are of one class for all purposes.
ONE_CLASS = 0.95
CARD = "model_card.md"


@dataclass(frozen=True)
class Grouping:
    """The grouping of patients: images without a patient, all images, patients in two folds."""

    unknown: int
    images: int
    split_patients: int


def grouping_cautions(grouping: Grouping) -> list[Caution]:
    """Warn where a network may have been tested on patients that it was trained on."""
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
        "the lungs at all. The figures therefore do not show how well disease is recognised; only "
        "images of all classes from one and the same source can show that."
    )


def _comes_alone(label: np.ndarray, source: np.ndarray, name: str) -> bool:
    """Return whether nearly all images of class `name` come from sources that hold nearly nothing else."""
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
        f"Calling every image {name}, the commonest class, would be right in {100 * majority:.2f}% of the "
        f"images. The networks were right in {100 * accuracy:.2f}%: they are no better than that."
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


def system_name(run: Run) -> str:
    """The network of a run, as its report calls it."""
    model = run.recipe.model
    return f"MAG-SD ({model.backbone})" if model.name == "magsd" else model.name


def summary_section(facts: Facts) -> list[Block]:
    """Say what this is, what it is not, and every warning, before any figure."""
    run = facts.results.run
    tested = (
        "leave-one-source-out cross-validation: the images of each source are tested by a network that was "
        "trained on the other sources alone"
        if run.held_out
        else f"{run.fold_count}-fold cross-validation: each image is tested once, by a network that never "
        "saw it"
        if run.kind == "cv"
        else f"one training, tested on the {run.fold_count}th part of the images that was held out"
    )
    words = (
        f"This report describes how well a neural network, {system_name(run)}, tells "
        f"{', '.join(run.classes)} apart on chest X-rays. It rests on {tested}. Made by magsd {__version__}."
    )
    diagnosis = Caution(f"{NOT_FOR_DIAGNOSIS} A research tool, not a medical device.")
    card = Link("What it is for, with the items of TRIPOD+AI and CLAIM:", CARD)
    headline = [Paragraph(_headline(facts)), *_refit(facts)]
    return [Paragraph(words), diagnosis, *cautions(facts), Heading("Summary"), *headline, card]


def _refit(facts: Facts) -> list[Block]:
    """Say of a run with a network on all images that every figure is of the others."""
    images = facts.results.refit_images
    if images is None:
        return []
    words = (
        f"The run also has one network that was trained on all {images} images, in the folder refit "
        "(predict --network refit). No image is left to test it on: every figure of this report is of the "
        "networks of the folds, and so are the temperature and the operating point that it is used with."
    )
    return [Paragraph(words)]


def cautions(facts: Facts) -> list[Caution]:
    """Everything that puts the figures of a run in doubt."""
    found: list[Caution | None] = []
    tested, about, metrics = facts.predictions, facts.results.tested, facts.results.metrics
    if tested is not None:
        found += grouping_cautions(_grouping(tested))
    elif not facts.results.run.patients_known:
        found += grouping_cautions(Grouping(1, 1, 0))
    if tested is not None and about is not None:
        found.append(source_caution(tested.labels, list(about["source"].fillna(""))))
    if metrics is not None:
        counts, name = facts.results.counts, facts.majority
        share = counts[name] / max(1, sum(counts.values()))
        found += [baseline_caution(metrics["pooled"]["accuracy"], share, name), size_caution(counts)]
    found += shortcut_cautions(facts.shortcuts.by_class, facts.results.run.classes)
    return [caution for caution in found if caution is not None]


def _grouping(tested: Predictions) -> Grouping:
    pairs = {
        (patient, fold) for patient, fold in zip(tested.patients, tested.tested_in(), strict=True) if patient
    }
    folds = Counter(patient for patient, _ in pairs)
    return Grouping(tested.patients.count(""), len(tested), sum(count > 1 for count in folds.values()))


def _headline(facts: Facts) -> str:
    metrics, tested = facts.results.metrics, facts.predictions
    if metrics is None:
        return f"Figures are not available: {facts.results.missing['metrics']}."
    pooled, mean, deviation = metrics["pooled"], metrics["mean"], metrics["std"]
    counts, name = facts.results.counts, facts.majority
    patients = 0 if tested is None else len({*tested.patients} - {""})
    of_patients = f" of {patients} patients" if patients else ""
    images = ", ".join(f"{key} {count}" for key, count in counts.items())
    return (
        f"{pooled['n']} images{of_patients} ({images}) were tested. Accuracy: "
        f"{mean_and_deviation(mean['accuracy'], deviation['accuracy'])}% (mean ± standard deviation over "
        f"{len(metrics['folds'])} folds; calling every image {name} would reach "
        f"{100 * counts[name] / max(1, pooled['n']):.2f}%). Area under the ROC curve, mean over the "
        f"classes: {mean_and_deviation(mean['auc'], deviation['auc'])}%."
    )
