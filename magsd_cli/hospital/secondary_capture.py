"""The overlay picture as a Secondary Capture, for viewers that show no segmentations."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from magsd_cli.hospital.algorithm import MAKER, NOT_FOR_DIAGNOSIS, Algorithm
from magsd_cli.hospital.segmentation import RegionRule
from magsd_cli.hospital.sources import UNICODE, Source, SourceError, quiet
from magsd_cli.hospital.structured_report import equipment

SERIES_NUMBER = 9903


def sc_uid(source: Source, rule: RegionRule, algorithm: Algorithm) -> str:
    """The SOPInstanceUID of the overlay that shows the region of `source` by `rule`."""
    return algorithm.uid_of_images("SC", [source], *rule.key())


def build_sc(
    source: Source, picture: npt.NDArray[np.uint8], rule: RegionRule, algorithm: Algorithm
) -> Dataset:
    """The overlay `picture` RGB [H,W,3] about `source`, which it names as its source image.

    Raises `SourceError` for a picture of another kind.
    """
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise SourceError("its overlay is not an RGB picture")
    with quiet():
        capture = hd.sc.SCImage.from_ref_dataset(
            ref_dataset=source.header,
            pixel_array=picture,
            photometric_interpretation=hd.PhotometricInterpretationValues.RGB,
            bits_allocated=8,
            coordinate_system=hd.CoordinateSystemNames.PATIENT,
            series_instance_uid=algorithm.uid("SC series", source.study_uid),
            series_number=SERIES_NUMBER,
            sop_instance_uid=sc_uid(source, rule, algorithm),
            instance_number=1,
            manufacturer=MAKER,
            patient_orientation=("L", "F"),  # highdicom wants one; the source's own follows
            specific_character_set=UNICODE,
            **equipment(algorithm, "Overlays"),
        )
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.header.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.header.SOPInstanceUID
    orientation = source.header.get("PatientOrientation")
    capture["PatientOrientation"].value = list(orientation) if orientation else None
    capture.BodyPartExamined = "CHEST"  # which has no laterality
    if "Laterality" in capture:
        del capture.Laterality
    capture.SourceImageSequence = [reference]
    capture.BurnedInAnnotation = "YES"  # the class, its probability and the file's name stand in the picture
    capture.DerivationDescription = f"{rule.label}: {algorithm.name}. {NOT_FOR_DIAGNOSIS}"
    return capture
