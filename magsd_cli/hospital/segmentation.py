"""The attended region as a DICOM Segmentation, which viewers lay over the film."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from magsd_cli.hospital import codes
from magsd_cli.hospital.algorithm import MAKER, Algorithm
from magsd_cli.hospital.sources import UNICODE, Source, SourceError, quiet
from magsd_cli.hospital.structured_report import equipment
from magsd_cli.localization.choice import DEFAULT_THRESHOLD
from magsd_cli.settings import Map

SERIES_NUMBER = 9902
COLOUR = (255, 128, 0)  # RGB, in which viewers draw the region
LABELS = {Map.attention: "Attended region", Map.evidence: "Evidence for the predicted class"}
CONTENT_LABELS = {Map.attention: "ATTENDED_REGION", Map.evidence: "CLASS_EVIDENCE"}


@dataclass(frozen=True)
class RegionRule:
    """The rule by which a region is cut from a map: over `threshold`, a share of the map's range in 0..1."""

    threshold: float = DEFAULT_THRESHOLD
    map: Map = Map.attention

    @property
    def label(self) -> str:
        """The name of the region."""
        return LABELS[self.map]

    def key(self) -> tuple[str, ...]:
        """The words from which the UID of an object about the region follows, beside image and model."""
        return (f"{self.threshold:.6g}", *([] if self.map == Map.attention else [self.map.value]))


def seg_uid(source: Source, rule: RegionRule, algorithm: Algorithm) -> str:
    """The SOPInstanceUID of the segmentation of `source` by `rule`."""
    return algorithm.uid_of_images("SEG", [source], *rule.key())


def build_seg(source: Source, mask: npt.NDArray[np.bool_], rule: RegionRule, algorithm: Algorithm) -> Dataset:
    """The region `mask` [rows, columns], which `rule` cut, on `source`.

    One binary segment, pixel for pixel over the source, which it references; patient, study, orientation and,
    where it has one, frame of reference are the source's.
    Raises `SourceError` where the mask has another size, or marks nothing.
    """
    if mask.shape != source.shape:
        raise SourceError("the region and the image differ in size")
    if not mask.any():
        raise SourceError("the network's map marks nothing on it")
    about = equipment(algorithm, "Attended regions")
    with quiet():
        segmentation = hd.seg.Segmentation(
            source_images=[source.header],
            pixel_array=mask[None].astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(source, rule, algorithm)],
            series_instance_uid=algorithm.uid("SEG series", source.study_uid),
            series_number=SERIES_NUMBER,
            sop_instance_uid=seg_uid(source, rule, algorithm),
            instance_number=1,
            manufacturer=MAKER,
            content_label=CONTENT_LABELS[rule.map],
            content_description=f"{rule.label} of {algorithm.name}"[:64],
            content_creator_name=f"{MAKER}^",
            specific_character_set=UNICODE,
            **about,
        )
    return _completed(segmentation, source, algorithm)


def _segment(source: Source, rule: RegionRule, algorithm: Algorithm) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=rule.label,
        segmented_property_category=codes.REGION_CATEGORY,
        segmented_property_type=codes.REGION,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"{MAKER} {algorithm.name}"[:64],
            family=codes.FAMILY,
            version=algorithm.version,
            source=MAKER,
            parameters={
                "model_sha256": algorithm.model_sha256,
                "threshold": f"{rule.threshold:.6g} of the {rule.map.name}'s range",
            },
        ),
        tracking_uid=algorithm.uid_of_images("SEG segment", [source], *rule.key()),
        tracking_id=rule.label,
        anatomic_regions=[codes.CHEST],
        display_color=hd.color.CIELabColor.from_rgb(*COLOUR),
    )


def _completed(segmentation: Dataset, source: Source, algorithm: Algorithm) -> Dataset:
    """Add the source's patient orientation, empty where its header has none, and replace random UIDs."""
    orientation = source.header.get("PatientOrientation")
    segmentation.PatientOrientation = list(orientation) if orientation else None
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    measures = shared.get("PixelMeasuresSequence")
    if measures and "SliceThickness" not in measures[0]:
        del (
            shared.PixelMeasuresSequence
        )  # highdicom writes a film's spacing alone, and then refuses to read it
    uid = algorithm.uid("SEG dimensions")
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
    return segmentation
