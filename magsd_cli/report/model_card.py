"""The model card: what a run's networks are and are not for, with the items of TRIPOD+AI and CLAIM.

TRIPOD+AI: Collins et al., BMJ 385:e078378 (2024). CLAIM: Tejani et al., Radiol. Artif. Intell. 6(4):e240300
(2024). Items are named in words of our own; docs/trust.md says which numbers
were checked.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from magsd_cli.artifacts.model_file import deployed_path
from magsd_cli.artifacts.runs import weights_path
from magsd_cli.evaluation.results import Evidence, stored_operating
from magsd_cli.render.document import (
    NOT_FOR_DIAGNOSIS,
    Block,
    Bullets,
    Caution,
    Document,
    Heading,
    Paragraph,
    Table,
    percent,
    text_table,
)

ITEMS = Path(__file__).with_name("checklists.csv")
NOT_REPORTED = "not reported"
GUIDELINES = {
    "TRIPOD+AI": "TRIPOD+AI (Collins et al., BMJ 2024;385:e078378)",
    "CLAIM 2024": "CLAIM, 2024 update (Tejani et al., Radiol. Artif. Intell. 2024;6(4):e240300)",
}

#: What the card says before the checklists: heading, and the facts under it.
SECTIONS = {
    "Model": ("title", "model", "weights", "output", "computed"),
    "Use": ("use", "poor_input"),
    "Data": ("sources", "flow", "people", "outcome", "partition"),
    "Performance": ("performance", "by_source", "calibration", "external"),
}

HEAD_FIGURES = ("accuracy", "sensitivity", "specificity", "f1", "auc")


def model_card(name: str, facts: Mapping[str, str], cautions: Sequence[Caution]) -> Document:
    """The card of the run called `name`.

    facts: sentences by the keys of the column `fact` in checklists.csv; one that is absent or empty is not
    reported. cautions: what the report warns of.
    """
    warned = tuple(caution.text for caution in cautions)
    known = {**facts, "limitations": facts.get("limitations", "") or " ".join(warned)}
    blocks: list[Block] = [Caution(f"{NOT_FOR_DIAGNOSIS} A research tool; no medical device.")]
    for heading, keys in SECTIONS.items():
        blocks += [Heading(heading), Bullets(tuple(known[key] for key in keys if known.get(key)))]
    none = Paragraph("The report found none by its own rules; what the images are like is not known to it.")
    blocks += [Heading("Limitations"), Bullets(warned) if warned else none]
    blocks.append(Heading("Reporting guidelines"))
    blocks.append(
        Paragraph(
            "Filled from what the run left. Not reported: magsd does not know it; the authors of a study "
            "must say it. The items are in our own words; read them in the guideline."
        )
    )
    for guideline, title in GUIDELINES.items():
        blocks += [Heading(title, 3), checklist(guideline, known)]
    return Document(f"Model card: {name}", tuple(blocks))


def checklist(guideline: str, facts: Mapping[str, str]) -> Table:
    """The items of `guideline` (a key of `GUIDELINES`) with what is known of each."""
    with ITEMS.open(encoding="utf-8", newline="") as file:
        items = [row for row in csv.DictReader(file) if row["guideline"] == guideline]
    rows = [(row["item"], row["words"], facts.get(row["fact"], "") or NOT_REPORTED) for row in items]
    filled = sum(row[2] != NOT_REPORTED for row in rows)
    return text_table(f"{filled} of {len(rows)} items are filled.", ("item", "asks for", "here"), rows)


def describe_card(evidence: Evidence, cautions: Sequence[Caution]) -> Document:
    """The model card of a run; `cautions` as its report has them. Raises `ArtifactError` as `gather` does."""
    facts = {
        **_design(evidence),
        **_data(evidence.samples, evidence.run.classes),
        **_network(evidence),
        **_tested(evidence),
        **_use(evidence),
    }
    return model_card(evidence.run.path.name, facts, cautions)


def _design(evidence: Evidence) -> dict[str, str]:
    run = evidence.run
    classes = ", ".join(run.classes)
    parts = (
        f"{run.fold_count} parts; each network was tested on one part and trained on the others"
        if run.kind == "cv"
        else f"a {run.fold_count}th part was tested, the rest trained on"
    )
    facts = {
        "title": f"Development of a neural network that tells {classes} apart on chest X-rays, with internal "
        "cross-validation.",
        "use": "Research on such networks. Not for diagnosis, triage or any decision about a patient. Who "
        "uses it must know how the images differ from those it was trained on.",
        "objective": "Development with internal evaluation.",
        "outcome": f"One class an image ({classes}), as the data's source labels it; how the source came to "
        "its labels is not known to magsd. Tested images are labelled in the same way.",
        "predictors": "The pixels of one image; no clinical facts.",
        "no_reader": "None: the network gets pixels alone.",
        "preparation": f"Gray, {run.size} px square, "
        + (f"CLAHE (clip limit {run.clip_limit:g}, {run.tiles} tiles)" if run.clahe else "no CLAHE")
        + ", then each image to mean 0 and standard deviation 1. Unreadable files are left out.",
        "partition": f"{parts}.",
        "data_id": f"The cache's digest is {run.cache_digest}; `magsd prepare` on the same files gives it.",
    }
    if run.patients_known:
        facts["disjoint"] = "Patients: all images of one are in the same part."
        facts["deidentified"] = "Ids of patients from DICOM headers are keyed hashes; other ids as given."
    else:
        facts["disjoint"] = "Images; patients are not known, so one may be in two parts."
    return facts


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
    facts = {
        "sources": f"Images by source: {counted}.",
        "flow": f"{len(samples)} files found, {len(used)} images{of_patients} used ({labels}). Left out: "
        f"{reasons}.",
        "eligible": f"Every file of the given folders that can be read and has a label. Left out: {reasons}.",
        "balance": f"{labels}.",
    }
    known = {name: int((used[name].astype(str) != "").sum()) for name in ("sex", "age", "view", "patient_id")}
    facts["missing"] = "Known of the used images: " + ", ".join(
        f"{name.replace('_id', '')} {count} of {len(used)}" for name, count in known.items()
    )
    if known["sex"]:
        sexes = ", ".join(f"{name or 'unknown'} {n}" for name, n in used["sex"].value_counts().items())
        facts["people"] = f"Sex: {sexes}. Age and view by class: in the report, where they are known."
    if known["sex"] or known["age"]:
        facts["fairness"] = "Figures by sex and age are in the report; nothing was done to make them equal."
    return facts


def _network(evidence: Evidence) -> dict[str, str]:
    recipe = evidence.run.recipe
    model, train = recipe.model, recipe.train
    name = f"MAG-SD, backbone {model.backbone}" if model.name == "magsd" else model.name
    facts = {
        "model": f"{name}, {recipe.image.size} px; every setting is in recipe.json "
        f"(SHA-256 {recipe.hash()[:12]}).",
        "initial": "Random." if model.weights == "none" else f"Weights: {model.weights}.",
        "training": f"{train.epochs} epochs, batches of {train.batch_size}, learning rate {train.lr:g} "
        f"({train.schedule}), augmentation: {', '.join(train.augment) or 'none'}; "
        f"{len(evidence.run.trained)} networks.",
        "selection": "The weights of the last epoch; magsd chose no epoch and no setting on the tested part.",
    }
    if model.name == "magsd":
        facts["explained"] = (
            "Attention maps of single cases, by the network that never saw them; see the report."
        )
    if evidence.provenance is not None:
        tool = evidence.provenance["tool"]
        facts["code"] = f"magsd {tool['version']}, commit {tool.get('git') or 'unknown'}."
        versions = evidence.provenance["sessions"][-1]["versions"]
        facts["software"] = ", ".join(f"{key} {value}" for key, value in versions.items())
    if all(weights_path(evidence.run.path, fold).exists() for fold in evidence.run.trained):
        file = deployed_path(evidence.run.path)
        facts["weights"] = "In the run's folder: the weights of each fold" + (
            f", and {file.name}, which predicts without torch." if file.exists() else "."
        )
    return facts


def _tested(evidence: Evidence) -> dict[str, str]:
    metrics = evidence.metrics
    if metrics is None:
        return {}
    pooled, bounds = metrics["pooled"], metrics["pooled_intervals"]
    figures = ", ".join(
        f"{name} {percent(pooled[name], digits=1)} %"
        + (
            f" ({percent(bounds[name][0], digits=1)} to {percent(bounds[name][1], digits=1)})"
            if bounds.get(name)
            else ""
        )
        for name in HEAD_FIGURES
    )
    per_class = "; ".join(f"{row['class']} {row['n']}" for row in pooled["per_class"])
    facts = {
        "tested": f"{pooled['n']} images ({per_class}), each by networks that never saw it.",
        "performance": f"Out of fold, all images pooled, 95 % intervals over {bounds['over']}: {figures}. "
        "Each class and subgroup: in the report.",
        "measures": "Accuracy; sensitivity, specificity, F1 and AUC of each class against the rest and their "
        "mean; calibration (ECE, Brier score, slope); ROC curves, confusion matrix.",
        "uncertainty": f"Bootstrap over {bounds['over']}, {bounds['draws']} samples, 95 %; mean and standard "
        "deviation over the folds.",
        "failures": "The images that were called wrong stand first in the report's case gallery.",
    }
    if evidence.samples is not None:
        count = (
            evidence.samples.loc[evidence.samples["status"] == "ok", "source"].replace("", pd.NA).nunique()
        )
        if count > 1:
            facts["centres"] = f"{count} sources; how many centres they hold is not known to magsd."
            facts["by_source"] = "Figures of each source are in the report (subgroups)."
    return facts


def _use(evidence: Evidence) -> dict[str, str]:
    stored = stored_operating(evidence)
    facts = {
        "computed": f"The mean of the softmax of the {len(evidence.run.trained)} networks; for tested images "
        "the one network that never saw it.",
        "output": "A probability for each class; the class with the highest is the call.",
        "poor_input": "Files that cannot be read get a row with the reason and no call.",
    }
    if stored is None:
        return facts
    facts["calibration"] = "Temperature scaling fitted on out-of-fold predictions; see the report."
    if stored.decision is not None:
        facts["output"] += f" A stored threshold decides about {stored.decision.positive}; see the report."
    if stored.appearance is not None:
        facts["poor_input"] += " Images unlike the training data are referred to a reader."
    return facts
