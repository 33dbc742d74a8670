"""The model card: what a run's networks are and are not for, with the items of TRIPOD+AI and CLAIM.

TRIPOD+AI: Collins et al., BMJ 385:e078378 (2024). CLAIM: Tejani et al., Radiol. Artif. Intell. 6(4):e240300
(2024). Items are named in words of our own; docs/trust.md says what was checked.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from magsd_cli.evaluation.facts import Facts, OperatingPoint, Run
from magsd_cli.evaluation.results import Results
from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Annex,
    Block,
    Bullets,
    Caution,
    Document,
    Heading,
    Paragraph,
    Table,
    code,
    interval_text,
    percent,
    text_table,
)
from magsd_cli.report.sections.summary import CARD, cautions
from magsd_cli.settings import Lungs

ITEMS = Path(__file__).with_name("checklists.csv")
NOT_REPORTED = "not reported"
LEFT_OPEN = "Left open: "
GUIDELINES = {
    "TRIPOD+AI": "TRIPOD+AI (Collins et al., BMJ 2024;385:e078378)",
    "CLAIM 2024": "CLAIM, 2024 update (Tejani et al., Radiol. Artif. Intell. 2024;6(4):e240300)",
}

#: What the card says before the checklists: heading, and the facts under it.
SECTIONS = {
    "Model": ("title", "model", "weights", "output", "computed"),
    "Use": ("use", "poor_input", "interaction"),
    "Data": ("sources", "flow", "people", "outcome", "partition"),
    "Performance": ("performance", "by_source", "calibration", "external"),
}

HEAD_FIGURES = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1": "F1",
    "auc": "AUC",
}


def model_card(name: str, sentences: Mapping[str, str], warnings: Sequence[Caution]) -> Document:
    """The card of the run called `name`.

    sentences: by the keys of the column `fact` in checklists.csv; one that is absent or empty is not
    reported. warnings: what the report warns of.
    """
    warned = tuple(caution.text for caution in warnings)
    known = {**sentences, "limitations": sentences.get("limitations", "") or " ".join(warned)}
    blocks: list[Block] = [Caution(f"{NOT_FOR_DIAGNOSIS} A research tool, not a medical device.")]
    for heading, keys in SECTIONS.items():
        blocks += [Heading(heading), Bullets(tuple(known[key] for key in keys if known.get(key)))]
    none = Paragraph("The report found none by its own rules; what the images are like is not known to it.")
    blocks += [Heading("Limitations"), Bullets(warned) if warned else none]
    blocks.append(Heading("Reporting guidelines"))
    blocks.append(
        Paragraph(
            "Filled from what the run left. What magsd does not know is not reported, or left open: the "
            "authors of a study must say it. The items are in our own words; read them in the guideline."
        )
    )
    for guideline, title in GUIDELINES.items():
        blocks += [Heading(title, 3), checklist(guideline, known)]
    return Document(f"Model card: {name}", tuple(blocks))


def checklist(guideline: str, sentences: Mapping[str, str]) -> Table:
    """The items of `guideline` (a key of `GUIDELINES`) with what is known of each."""
    with ITEMS.open(encoding="utf-8", newline="") as file:
        items = [row for row in csv.DictReader(file) if row["guideline"] == guideline]
    answers = [_answer(row["fact"], row["open"], sentences) for row in items]
    rows = [(row["item"], row["words"], answer) for row, answer in zip(items, answers, strict=True)]
    filled = sum(not answer.startswith(NOT_REPORTED) for answer in answers)
    in_part = sum(LEFT_OPEN in answer for answer in answers)
    caption = f"{filled} of {len(rows)} items are filled, {in_part} of them in part."
    return text_table(caption, ("item", "asks for", "here"), rows)


def _answer(facts: str, left_open: str, sentences: Mapping[str, str]) -> str:
    """Say what is known of an item's `facts` (keys joined by " + "), and what is not."""
    known = " ".join(found for key in facts.split(" + ") if (found := sentences.get(key, "")))
    if not known:
        return f"{NOT_REPORTED}: {left_open}" if left_open else NOT_REPORTED
    return f"{known} {LEFT_OPEN}{left_open}." if left_open else known


def card_section(facts: Facts) -> list[Block]:
    """The model card, a document of its own."""
    return [Annex("Model card", CARD, describe_card(facts))]


def describe_card(facts: Facts) -> Document:
    """The model card of a run, with the warnings of its report."""
    run = facts.results.run
    sentences = {
        **_design(run),
        **_data(facts.results.samples, run.classes),
        **_network(facts.results),
        **_tested(facts.results),
        **_use(facts.results, facts.operating_point),
        **_elsewhere(facts),
    }
    return model_card(run.path.name, sentences, cautions(facts))


_CUT = {
    Lungs.none: "Gray",
    Lungs.crop: "Gray, cut to the box around both lungs (where two are found)",
    Lungs.mask: "Gray, cut to both lungs, black beside them (where two are found)",
}


def _design(run: Run) -> dict[str, str]:
    made = run.preprocessing
    classes = ", ".join(run.classes)
    parts = (
        f"{run.fold_count} parts; each network was tested on one part and trained on the others"
        if run.kind == "cv"
        else f"a {run.fold_count}th part was tested, the rest trained on"
    )
    said = {
        "title": f"Development of a neural network that tells {classes} apart on chest X-rays, with internal "
        f"{'cross-validation' if run.kind == 'cv' else 'evaluation'}.",
        "use": "Research on such networks. Not for diagnosis, triage or any decision about a patient. Who "
        "uses it must know how the images differ from those it was trained on.",
        "objective": "Development with internal evaluation.",
        "interaction": "Files go in as they are; nobody chooses or marks anything. An image that predict "
        "refers needs a reader.",
        "fairness": "Nothing was done to make the figures of groups of people equal.",
        "balance": _balance(run),
        "outcome": f"One class an image ({classes}), as the data's source labels it; how the source came to "
        "its labels is not known to magsd. Tested images are labelled in the same way.",
        "predictors": "All pixels of one image; no clinical facts. None was chosen beforehand.",
        "no_reader": "None: the network gets pixels alone.",
        "preparation": f"{_CUT[made.lungs]}, {made.size} px square, "
        + (f"CLAHE (clip limit {made.clip_limit:g}, {made.tiles} tiles)" if made.clahe else "no CLAHE")
        + ", then each image to mean 0 and standard deviation 1; the same for every image. Files that "
        "cannot be read, or are no chest radiograph by their header, are left out.",
        "partition": f"{parts}."
        + (f" Each part is the images of one source ({', '.join(run.held_out)})." if run.held_out else ""),
        "data_id": f"The cache's digest is {run.cache_digest}; {code('magsd prepare')} on the same files "
        "gives it.",
    }
    if run.patients_known:
        said["disjoint"] = "Patients: all images of one are in the same part."
        said["deidentified"] = "Ids of patients from DICOM headers are keyed hashes; other ids as given."
    else:
        said["disjoint"] = "Images; patients are not known, so one may be in two parts."
    return said


def _balance(run: Run) -> str:
    if run.recipe.train.sampling == "balanced":
        return (
            "In training each class is drawn equally often, so that the network does not prefer a common "
            "one. Probabilities are calibrated afterwards by a temperature alone."
        )
    return "Nothing: training takes the images as they are, and every image once an epoch."


def _data(samples: pd.DataFrame | None, classes: tuple[str, ...]) -> dict[str, str]:
    if samples is None:
        return {}
    used = samples[(samples["status"] == "ok") & samples["label"].isin(classes)]
    left_out = samples.loc[samples["status"] != "ok", "error_code"].value_counts()
    reasons = ", ".join(f"{code} {count}" for code, count in left_out.items()) or "none"
    sources = used["source"].replace("", "unknown").value_counts()
    counted = ", ".join(f"{name} {count}" for name, count in sources.items())
    patients = used.loc[used["patient_id"] != "", "patient_id"].nunique()
    of_patients = f" of {patients} patients" if patients else ""
    labels = ", ".join(f"{name} {count}" for name, count in used["label"].value_counts().items())
    said = {
        "sources": f"Images by source: {counted}.",
        "flow": f"{len(samples)} files found, {len(used)} images{of_patients} used ({labels}). Left out: "
        f"{reasons}.",
        "eligible": f"Every file of the given folders that can be read and has a label. Left out: {reasons}.",
    }
    known = {name: int((used[name].astype(str) != "").sum()) for name in ("sex", "age", "view", "patient_id")}
    counts = ", ".join(f"{name.replace('_id', '')} {count} of {len(used)}" for name, count in known.items())
    said["missing"] = (
        "Files without a label or that cannot be read are left out; nothing is made up for what is missing, "
        f"and the network gets pixels alone. Known of the used images: {counts}."
    )
    chosen = samples.loc[samples["status"] == "excluded", "error_code"].value_counts()
    said["subset"] = (
        "Left out on purpose: " + ", ".join(f"{code} {count}" for code, count in chosen.items())
        if len(chosen)
        else "None: every readable image with a label was used"
    ) + ". Images are used whole."
    if known["sex"]:
        sexes = ", ".join(f"{name or 'unknown'} {n}" for name, n in used["sex"].value_counts().items())
        said["people"] = f"Sex: {sexes}. Age and view by class: in the report, where they are known."
    return said


def _network(results: Results) -> dict[str, str]:
    recipe = results.run.recipe
    model, train = recipe.model, recipe.train
    name = f"MAG-SD, backbone {model.backbone}" if model.name == "magsd" else model.name
    said = {
        "model": f"{name}, {recipe.image.size} px; every setting is in recipe.json "
        f"(SHA-256 {recipe.hash()[:12]}).",
        "initial": _first_weights(results),
        "training": f"{train.epochs} epochs, batches of {train.batch_size}, learning rate {train.lr:g} "
        f"({train.schedule}), augmentation: {', '.join(train.augment) or 'none'}; "
        f"{len(results.run.trained)} networks.",
        "selection": "The weights of the last epoch; magsd chose no epoch and no setting on the tested part.",
    }
    if model.name == "magsd":
        said["explained"] = (
            "Attention maps of single cases, by the network that never saw them; see the report."
        )
    if results.provenance is not None:
        tool = results.provenance["tool"]
        said["code"] = f"magsd {tool['version']}, commit {tool.get('git') or 'unknown'}."
        versions = results.provenance["sessions"][-1]["versions"]
        said["software"] = ", ".join(f"{key} {value}" for key, value in versions.items())
    if results.weights:
        file = results.model_file
        said["weights"] = "In the run's folder: the weights of each fold" + (
            f", and {file.name}, which predicts without torch." if file else "."
        )
        if results.refit_images is not None:
            said["weights"] += (
                f" In its folder refit: one network that was trained on all {results.refit_images} images."
            )
    return said


def _first_weights(results: Results) -> str:
    weights = results.run.recipe.model.weights
    found = (results.provenance or {}).get("first_weights")
    if weights == "none":
        return "Random."
    if found is None:  # a run of an earlier version
        return f"Weights: {weights}."
    name = "ImageNet" if weights == "imagenet" else "A state dict"
    digest = "unknown" if found["sha256"] is None else found["sha256"]
    return f"{name}: {found['file']} ({found['source']}; licence: {found['licence']}; SHA-256 {digest})."


def _tested(results: Results) -> dict[str, str]:
    metrics = results.metrics
    if metrics is None:
        return {}
    pooled, bounds = metrics["pooled"], metrics["pooled_intervals"]
    figures = ", ".join(
        f"{words} {percent(pooled[name], digits=1)}%"
        + (f" {interval_text(bounds[name])}" if bounds.get(name) else "")
        for name, words in HEAD_FIGURES.items()
    )
    per_class = "; ".join(f"{row['class']} {row['n']}" for row in pooled["per_class"])
    said = {
        "tested": f"{pooled['n']} images ({per_class}), each by networks that never saw it.",
        "performance": f"Out of fold, all images pooled, 95% intervals over {bounds['over']}: {figures}. "
        "Each class and subgroup: in the report.",
        "measures": "Accuracy; sensitivity, specificity, F1 and AUC of each class against the rest and their "
        "mean; calibration (ECE, Brier score, slope); net benefit (decision curves); ROC and "
        "precision-recall curves, confusion matrix.",
        "uncertainty": f"Bootstrap over {bounds['over']}, {bounds['draws']:,} samples, 95%; mean and "
        "standard deviation over the folds.",
        "failures": "The confusion matrix, and the report's case gallery, where the images that were called "
        "wrong stand first.",
    }
    if results.refit_images is not None:
        said["performance"] += (
            " The refit network has no figures of its own, for it was trained on every image: these, the "
            "calibration and the operating point are those of the cross-validation."
        )
    if results.samples is not None:
        count = results.samples.loc[results.samples["status"] == "ok", "source"].replace("", pd.NA).nunique()
        if count > 1:
            said["by_source"] = f"Figures of each of the {count} sources are in the report (subgroups)."
    return said


def _use(results: Results, stored: OperatingPoint | None) -> dict[str, str]:
    refit = (
        ""
        if results.refit_images is None
        else " With --network refit: the softmax of the refit network alone."
    )
    said = {
        "computed": f"The mean of the softmax of the {len(results.run.trained)} networks; for tested images "
        f"the one network that never saw it.{refit}",
        "output": "A probability for each class; the class with the highest is the call.",
        "poor_input": "Files that cannot be read get a row with the reason and no call.",
    }
    if stored is None:
        return said
    said["calibration"] = (
        f"A temperature of {stored.temperature.value:.2f}, fitted on the out-of-fold predictions; the report "
        "has the calibration before and after, each fold by the temperature of the others."
    )
    if stored.decision is not None:
        said["output"] += f" A stored threshold decides about {stored.decision.positive}; see the report."
    if stored.appearance is not None:
        said["poor_input"] += " Images unlike the training data are referred to a reader."
    return said


def _elsewhere(facts: Facts) -> dict[str, str]:
    """Say what other commands added to the run: outside images, localizations, groups of people."""
    said = {}
    if facts.external is not None:
        said["external"] = (
            f"{len(facts.external.predictions)} images from {facts.external.path.name}; figures in the "
            "report."
        )
        said["objective"] = "Development with internal evaluation, and evaluation on outside images."
    about = facts.results.tested
    if about is not None and any((about[name].fillna("").astype(str) != "").any() for name in ("sex", "age")):
        said["fairness"] = (
            "Nothing was done to make the figures of groups of people equal; those by sex and age are in the "
            "report."
        )
    model = facts.results.hashes.get("networks that predicted", "")
    if any(found.model_sha256 == model and found.rows for found in facts.localizations):
        said["explained"] = (
            "Attention maps, measured against true lesions or lungs and against chance; see the report "
            "(localization)."
        )
    return said
