"""A study's answer as a Structured Report: TID 1500 (DICOM PS3.16) in a Comprehensive 3D SR.

As in IHE's profile AI Results: a TID 1501 group for the study's answer and one for each image, each with the
algorithm's identification (TID 4019) and the images that it was computed from. A group says

- the probability of each class: NUM (122157, DCM, "Probability"), 0..1, post-coordinated (TID 300, row 2)
  with the finding, which is the class's code;
- the class with the highest of them, and referral with its reasons: codes of scheme 99MAGSD;
- where the model has an operating point, the decision: the class's code, present or absent (CID 240);
- that this is not for clinical diagnosis, as a comment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from magsd_cli.artifacts.tables import probability_column
from magsd_cli.hospital import codes
from magsd_cli.hospital.algorithm import MAKER, NOT_FOR_DIAGNOSIS, Algorithm
from magsd_cli.hospital.sources import UNICODE, Source, SourceError, one_study, quiet
from magsd_cli.inference.studies.answer import study_answer

SERIES_NUMBER = 9901
Row = Mapping[str, Any]


def sr_uid(sources: Sequence[Source], algorithm: Algorithm) -> str:
    """The SOPInstanceUID of the report about `sources`."""
    return algorithm.uid_of_images("SR", list(sources))


def sr_series_uid(study_uid: str, algorithm: Algorithm) -> str:
    """The SeriesInstanceUID of all reports of `algorithm` about a study, however it grows."""
    return algorithm.uid("SR series", study_uid)


def build_sr(
    sources: Sequence[Source], rows: Sequence[Row], algorithm: Algorithm, previous: Sequence[Dataset] = ()
) -> Dataset:
    """The report about a study: `rows` of a prediction table, all ok, and the images that they are of.

    previous: earlier reports about the same study (when it had fewer images), which this one names as its
    predecessors. Patient and study are those of the first source. Raises `SourceError` where the images are
    of several studies or patients.
    """
    one_study(sources)
    answer = study_answer(rows, algorithm.rules)
    if answer is None or len(rows) != len(sources):
        raise SourceError("no image of it could be classified")
    study = {**answer.columns(), "rule": f"{answer.rule} over {answer.images} frontal images"}
    groups = [
        _group("study", study, sources, algorithm),
        *(
            _group(f"image {number}", row, [source], algorithm)
            for number, (source, row) in enumerate(zip(sources, rows, strict=True), start=1)
        ),
    ]
    with quiet():
        return sr.Comprehensive3DSR(
            evidence=[source.header for source in sources],
            content=sr.MeasurementReport(
                observation_context=_observer(algorithm),
                procedure_reported=codes.PROCEDURE,
                imaging_measurements=groups,
                title=codes.TITLE,
            ),
            series_instance_uid=sr_series_uid(sources[0].study_uid, algorithm),
            series_number=SERIES_NUMBER,
            sop_instance_uid=sr_uid(sources, algorithm),
            instance_number=len(previous) + 1,
            manufacturer=MAKER,
            is_complete=True,
            previous_versions=list(previous) or None,
            specific_character_set=UNICODE,
            **equipment(algorithm, "Results"),
            coding_schemes=[own_scheme()],
        )


def equipment(algorithm: Algorithm, what: str) -> dict[str, Any]:
    """The attributes of series and equipment that every result object has."""
    return {
        "series_description": f"{MAKER}: {what}. {NOT_FOR_DIAGNOSIS}",
        "manufacturer_model_name": algorithm.name[:64],
        "software_versions": algorithm.version,
        "device_serial_number": algorithm.model_sha256[:16],
    }


def own_scheme() -> CodingSchemeIdentificationItem:
    """Describe the coding scheme 99MAGSD."""
    return CodingSchemeIdentificationItem(
        designator=codes.SCHEME, name="Codes of magsd", uid=codes.SCHEME_UID, responsible_organization=MAKER
    )


def _observer(algorithm: Algorithm) -> sr.ObservationContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=algorithm.device_uid,
        name=algorithm.name[:64],
        manufacturer_name=MAKER,
        model_name=MAKER,
        serial_number=algorithm.model_sha256[:16],
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=sr.CodedConcept.from_code(codes.DEVICE), observer_identifying_attributes=device
        )
    )


def _group(
    name: str, row: Row, sources: Sequence[Source], algorithm: Algorithm
) -> sr.MeasurementsAndQualitativeEvaluations:
    """A TID 1501 group: what `row` says of `sources`."""
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=algorithm.uid_of_images(f"group {name.partition(' ')[0]}", list(sources)), identifier=name
        ),
        algorithm_id=sr.AlgorithmIdentification(
            name=f"{MAKER} {algorithm.name}"[:64],
            version=algorithm.version,
            parameters=[*algorithm.parameters(), *([f"rule={row['rule']}"] if "rule" in row else [])],
            family=codes.FAMILY,
        ),
        finding_sites=[sr.FindingSite(anatomic_location=codes.CHEST)],
        measurements=[
            _probability(code, float(row[probability_column(name)])) for name, code in algorithm.codes.items()
        ],
        qualitative_evaluations=_evaluations(row, algorithm),
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=str(source.header.SOPClassUID),
                referenced_sop_instance_uid=str(source.header.SOPInstanceUID),
            )
            for source in sources
        ],
    )
    group[0].ContentSequence.append(
        sr.TextContentItem(
            name=codes.COMMENT,
            value=NOT_FOR_DIAGNOSIS,
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )
    )
    return group


def _probability(code: Code, value: float) -> sr.Measurement:
    measurement = sr.Measurement(name=codes.PROBABILITY, value=round(value, 6), unit=codes.NO_UNITS)
    finding = sr.CodeContentItem(
        name=codes.FINDING, value=code, relationship_type=sr.RelationshipTypeValues.HAS_CONCEPT_MOD
    )
    if "ContentSequence" not in measurement[0]:
        measurement[0].ContentSequence = sr.ContentSequence()
    measurement[0].ContentSequence.append(finding)
    return measurement


def _evaluations(row: Row, algorithm: Algorithm) -> list[sr.QualitativeEvaluation]:
    found = [(codes.PREDICTED, algorithm.codes[row["predicted"]])]
    positive = algorithm.rules.positive
    if positive is not None:
        said = codes.PRESENT if row["decision"] == positive else codes.ABSENT
        found.append((algorithm.codes[positive], said))
    refer = {True: codes.REFER, False: codes.NO_REASON, None: codes.NOT_CHECKED}[row["refer"]]
    found.append((codes.REFERRAL, refer))
    for reason in (row["refer_reason"] or "").split(", "):
        if reason:
            found.append((codes.REASON, codes.REASONS[reason]))
    return [sr.QualitativeEvaluation(name=name, value=value) for name, value in found]
