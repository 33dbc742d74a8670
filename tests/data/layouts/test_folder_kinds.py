"""Folders that are no classes: parts of a collection, sites, masks, system folders."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from magsd_cli.data.folders.clutter import is_clutter
from magsd_cli.data.folders.folder_names import Kind, bare_stem, is_mask_file, kind_of
from magsd_cli.data.layouts import Listing, read_layout
from magsd_cli.data.layouts.listing import left_out_in_words
from magsd_cli.errors import UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def numbered(pattern: str, count: int = 3) -> list[str]:
    return [pattern.format(number) for number in range(count)]


def used(listing: Listing) -> Counter[tuple[str | None, str, str]]:
    return Counter((r.label, r.split, r.source) for r in listing.records if r.problem is None)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Kind.PART, "train Test TRAINING val valid validation dev holdout xray_train_v2 COVID_test trainset"),
        (
            Kind.PART,
            "TrainData stage_2_train_images fold0 fold_1 cv-fold-3 Split2 part1 batch_03 subsetB 2020",
        ),
        (Kind.PART, "2020-03-01 20200301 day1 week_2 set1 archive3"),
        (
            Kind.SITE,
            "siteA site-2 Hospital_3 hospitalB center1 Clinic scanner_2 vendorX StMaryHospital cohort2",
        ),
        (Kind.IMAGES, "images images_001 imgs CXR_png X-ray x_rays Original data PNG dataset"),
        (Kind.PATIENT, "patient00001 sub-S03047 case_12 person1 study1 p10 s50414267 1.2.840.113 0012345"),
        (
            Kind.MASKS,
            "masks lung_masks Mask leftMask ManualMask lungmasks segmentations labels GT ground_truth",
        ),
        (Kind.DRAWINGS, "annotations overlays Overlay heatmaps bboxes contours GradCAM annotated thumbnails"),
        (Kind.UNKNOWN, "nan None NA unknown n-a <NA> Unbekannt"),
        (
            Kind.CLASS,
            "COVID COVID-19 Normal NORMAL PNEUMONIA Lung_Opacity A B 0 1 P N Neumonía grade2 covid_2",
        ),
        (Kind.CLASS, "tested Trained Valentine partial Imagery control case 肺炎 Sites_of_fracture negative"),
    ],
)
def test_kinds(kind: Kind, names: str) -> None:
    assert {name: kind_of(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


def test_classes_below_the_parts(tmp_path: Path) -> None:
    names = [f"{part}/{label}/0.png" for part in ("train", "val", "test") for label in ("COVID", "Normal")]
    listing = read_layout(touch(tmp_path, *names, "train/COVID/1.png"))
    assert listing.layout == "folder"
    assert used(listing) == {
        ("COVID", "train", ""): 2, ("COVID", "val", ""): 1, ("COVID", "test", ""): 1,
        ("Normal", "train", ""): 1, ("Normal", "val", ""): 1, ("Normal", "test", ""): 1,
    }  # fmt: skip
    assert any("not classes (test 2, train 3, val 2)" in note for note in listing.notes)


def test_classes_below_sites_and_containers(tmp_path: Path) -> None:
    sites = touch(
        tmp_path / "s", *(f"{s}/{c}/0.png" for s in ("siteA", "siteB") for c in ("covid", "normal"))
    )
    assert used(read_layout(sites)) == {
        (label, site, site): 1 for site in ("siteA", "siteB") for label in ("covid", "normal")
    }
    parts = touch(tmp_path / "d", *(f"data/fold{k}/{c}/0.png" for k in range(2) for c in "ab"))
    assert used(read_layout(parts)) == {(c, f"fold{k}", ""): 1 for k in range(2) for c in "ab"}


def test_a_class_keeps_what_lies_below_it(tmp_path: Path) -> None:
    listing = read_layout(touch(tmp_path, "covid/train/0.png", "covid/deep/er/1.png", "normal/test/0.png"))
    assert used(listing) == {("covid", "", ""): 2, ("normal", "", ""): 1}


@pytest.mark.parametrize(
    "names",
    [
        ["train/COVID-0.png", "test/COVID-1.png", "train.txt"],
        ["images_001/images/0.png", "images_002/images/1.png", "Data.csv"],
        ["siteA/0.png", "siteB/0.png"],
        ["fold0/0.png", "fold1/0.png"],
        ["2020-03-01/0.png", "2020-03-02/0.png"],
        ["covid_train/0.png", "covid_test/0.png", "normal_train/0.png"],
        ["train/patient1/study1/0.png", "valid/patient2/study1/0.png", "train.csv"],
        [f"train/{number:06}/0.png" for number in range(30)] + ["test/0.png"],
        ["stage_2_train_images/0.dcm", "stage_2_test_images/1.dcm", "stage_2_train_labels.csv"],
        ["dicom-images-train/1.2.3/4.5.6/0.dcm", "dicom-images-test/1.2.4/4.5.7/0.dcm", "train-rle.csv"],
        ["train/0.png", "COVID/0.png"],
        ["CXR_png/0.png", "ClinicalReadings/0.txt", "ManualMask/leftMask/0.png"],
        [f"{number}/{image}.png" for number in range(14) for image in range(6)],
    ],
)
def test_parts_without_classes_are_refused(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not classes") as caught:
        read_layout(touch(tmp_path, *names))
    words = str(caught.value)
    assert "metadata.csv" in words
    assert "--layout folder" in words
    for table in (name for name in names if "/" not in name):
        assert table in words
    assert read_layout(tmp_path, "folder").layout == "folder"


def test_asked_for_the_names_are_classes(tmp_path: Path) -> None:
    listing = read_layout(touch(tmp_path, "siteA/0.png", "siteB/0.png", "siteB/masks/0.png"), "folder")
    assert used(listing) == {("siteA", "", ""): 1, ("siteB", "", ""): 1}


def test_patients_and_one_folder_are_said(tmp_path: Path) -> None:
    patients = read_layout(touch(tmp_path / "p", *numbered("patient{}/0.png", 5)))
    assert patients.layout == "unlabelled"
    assert "the names of 5 folders are not labels" in patients.notes[0]
    wrapped = read_layout(touch(tmp_path / "w", "mine/COVID/0.png", "mine/Normal/0.png"))
    assert wrapped.layout == "unlabelled"
    assert f"name {tmp_path / 'w' / 'mine'}" in wrapped.notes[0]


def test_images_and_masks_in_each_class(tmp_path: Path) -> None:
    names = [
        f"{c}/{k}/{c}-{i}.png" for c in ("COVID", "Normal") for k in ("images", "masks") for i in range(3)
    ]
    listing = read_layout(touch(tmp_path, *names, "COVID/masks/COVID-9.png", "COVID.metadata.xlsx"))
    assert used(listing) == {("COVID", "", ""): 3, ("Normal", "", ""): 3}
    assert listing.mask_kind == "lung"  # healthy people have one
    assert listing.masks == {
        f"{c}/images/{c}-{i}.png": tmp_path / f"{c}/masks/{c}-{i}.png"
        for c in ("COVID", "Normal") for i in range(3)
    }  # fmt: skip
    left = {r.image_id: r.problem for r in listing.records if r.problem}
    assert left == {"COVID/masks/COVID-9.png": ("mask", "a mask, and no film has its name")}
    assert left_out_in_words(listing) == (
        "left out: 1 mask or drawing, 1 XLSX not read (COVID.metadata.xlsx)"
    )


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        ("lung_masks/COVID/1.png", "lung"),
        ("COVID/infection masks/1.png", "lesion"),
        ("COVID/masks/1_mask.png", "lung"),
        ("masks/COVID/1.png", "lung"),
        ("COVID/1_mask.png", "lung"),
        ("COVID/mask-1.png", "lung"),
        ("Segmentations/1_lesion_mask.png", "lesion"),
        ("labels/COVID/1.png", "lung"),
    ],
)
def test_masks_beside_and_in_classes(mask: str, kind: str, tmp_path: Path) -> None:
    listing = read_layout(touch(tmp_path, "COVID/1.png", "COVID/2.png", "Normal/3.png", mask))
    assert used(listing) == {("COVID", "", ""): 2, ("Normal", "", ""): 1}
    assert listing.masks == {"COVID/1.png": tmp_path / mask}
    assert listing.mask_kind == kind


def test_overlays_and_ambiguous_masks_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.png", "B/1.png", "B/2.png", "A/overlays/1.png", "annotations/1.png", "masks/1.png")
    listing = read_layout(touch(tmp_path, "B/masks/2_left_mask.png", "B/masks/2_right_mask.png"))
    assert used(listing) == {("A", "", ""): 1, ("B", "", ""): 2}
    assert listing.masks == {}
    reasons = Counter(r.problem[1] for r in listing.records if r.problem)
    assert reasons == {
        "lies among annotations or overlays: not a film": 2,
        "a mask, and no film has its name": 1,  # two films have it
        "several masks fit its film": 2,
    }
    assert left_out_in_words(listing) == "left out: 5 masks or drawings"


def test_lung_and_infection_masks_of_one_collection(tmp_path: Path) -> None:
    names = [
        f"Infection Segmentation Data/{part}/{label}/{kind}/{part}.png"
        for part in ("Train", "Test")
        for label in ("COVID-19", "Normal")
        for kind in ("images", "lung masks", "infection masks")
    ]
    listing = read_layout(touch(tmp_path, *names))
    assert used(listing) == {(c, s, ""): 1 for c in ("COVID-19", "Normal") for s in ("Train", "Test")}
    assert listing.mask_kind == "lesion"
    assert all("infection masks" in str(mask) for mask in listing.masks.values())
    assert len(listing.masks) == 4
    assert left_out_in_words(listing) == "left out: 4 masks or drawings"


def test_a_folder_called_segmentation_may_hold_the_films_too(tmp_path: Path) -> None:
    names = ["Lung Segmentation/CXR_png/a.png", "Lung Segmentation/masks/a_mask.png"]
    listing = read_layout(touch(tmp_path, *names))
    assert [r.image_id for r in listing.records] == names[:1]
    assert listing.masks == {names[0]: tmp_path / names[1]}


def test_loose_images_and_their_masks(tmp_path: Path) -> None:
    listing = read_layout(touch(tmp_path, "images/1.png", "images/2.png", "masks/1.png"))
    assert [r.image_id for r in listing.records] == ["images/1.png", "images/2.png"]
    assert listing.masks == {"images/1.png": tmp_path / "masks/1.png"}


def test_mask_names() -> None:
    assert [is_mask_file(n) for n in ("1_mask.png", "mask_1.png", "1.png", "mask.png", "unmasked 1.png")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert [bare_stem(n) for n in ("X1_mask.png", "1_lung_mask.png", "1_left_mask.png", "1-seg.png")] == [
        "x1", "1", "1", "1",
    ]  # fmt: skip


SYSTEM = (
    "@eaDir #recycle #snapshot .@__thumb $RECYCLE.BIN lost+found ~$list.xlsx x.lnk Thumbs.db desktop.ini "
    "@Recycle RECYCLER __MACOSX .DS_Store ._x.png @tmp ~snapshot FOUND.000 @GMT-2020.01.01-00.00.00 "
    ".ipynb_checkpoints x.png@SynoEAStream .Trash-1000 ehthumbs.db"
)


def test_system_names() -> None:
    assert [name for name in [*SYSTEM.split(), "System Volume Information"] if not is_clutter(name)] == []
    fine = ("x.png", "@home", "#1", "~x.png", "$5.png", "recycle", "lost", "found.png", "x.lnk.png")
    assert [name for name in fine if is_clutter(name)] == []


def test_system_folders_are_no_classes_and_are_counted(tmp_path: Path) -> None:
    odd = (
        "@eaDir",
        "#recycle",
        "#snapshot/2020",
        "$RECYCLE.BIN/S-1",
        "System Volume Information",
        "lost+found",
    )
    touch(
        tmp_path, *(f"{name}/x.png" for name in odd), ".@__thumb/x.png", "A/@eaDir/1.png/THUMB.jpg", "A/x.lnk"
    )
    listing = read_layout(touch(tmp_path, "A/1.png", "B/1.png", "Thumbs.db", "~$a.csv"))
    assert used(listing) == {("A", "", ""): 1, ("B", "", ""): 1}
    words = left_out_in_words(listing)
    assert "7 files of system folders" in words
    assert "1 hidden file" in words
    assert "3 system files" in words


def test_a_name_is_one_class_in_both_unicode_forms_and_with_a_blank(tmp_path: Path) -> None:
    both = [unicodedata.normalize(form, "Neumonía") for form in ("NFC", "NFD")]
    listing = read_layout(
        touch(tmp_path, f"{both[0]}/1.png", f"{both[1]}/2.png", "Normal/1.png", "Normal /2.png")
    )
    assert used(listing) == {(both[0], "", ""): 2, ("Normal", "", ""): 2}


@pytest.mark.parametrize("name", ["nan", "None", "unknown", "N-A"])
def test_a_class_folder_called_unknown_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a word for unknown is not a class"):
        read_layout(touch(tmp_path, f"{name}/1.png", "COVID/1.png", "Normal/1.png"))


def test_a_class_beside_kermanys_two_is_read(tmp_path: Path) -> None:
    names = (
        "train/NORMAL/IM-1-1.jpeg",
        "train/PNEUMONIA/person1_virus_1.jpeg",
        "train/COVID19/c.jpg",
        "x/y.jpeg",
    )
    listing = read_layout(touch(tmp_path, *names))
    assert listing.layout == "kermany"
    assert [r.label for r in listing.records] == ["Normal", "Viral pneumonia", "COVID19", None]
    assert listing.records[-1].problem == ("unlisted", "not listed in NORMAL, PNEUMONIA")


def test_a_manifest_below_is_not_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "a/metadata.csv", "a/1.png", "b/1.png")
    with pytest.raises(UsageError, match="a manifest lies below it"):
        read_layout(tmp_path)
    assert used(read_layout(tmp_path, "folder")) == {("a", "", ""): 1, ("b", "", ""): 1}
