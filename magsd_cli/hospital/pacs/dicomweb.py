"""The requests of screening to a PACS over DICOMweb (DICOM PS3.18): QIDO-RS, WADO-RS and STOW-RS.

Text of a server or of a header never reaches a message: only our words for it, without any UID.
"""

from __future__ import annotations

import re
import warnings as python_warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from magsd_cli.hospital.pacs.http_session import PacsError, PacsSession
from magsd_cli.hospital.pacs.multipart import BrokenMultipart, only_part

if TYPE_CHECKING:
    from dicomweb_client.web import DICOMwebClient

PAGE = 100
STUDY_UID, SERIES_UID, OBJECT_UID, PATIENT_ID = "0020000D", "0020000E", "00080018", "00100020"
STUDY_DATE, STUDY_TIME, OFFSET, MODALITY = "00080020", "00080030", "00080201", "00080060"
ALREADY_THERE = {0x0111}  # failure reasons of PS3.4, Annex GG.4.2: duplicate SOP instance

_UID = re.compile(r"[0-9.]{1,128}")  # longer than the standard's 64: some are

Item = dict[str, Any]
#: (offset=...) -> the page of results that begins there
Page = Callable[..., list[Item]]


@dataclass(frozen=True)
class ListedStudy:
    """A study of the list: its UID, and the ids of the patients under whom the PACS lists it."""

    uid: str = field(repr=False)
    patients: frozenset[str] = field(repr=False)


@dataclass(frozen=True, order=True)
class ListedImage:
    """One object of a study."""

    series: str = field(repr=False)
    uid: str = field(repr=False)


class Pacs:
    """A DICOMweb service. Its methods raise `PacsError`."""

    def __init__(self, root: str, session: PacsSession) -> None:
        from dicomweb_client.web import DICOMwebClient

        self._root, self._session = root, session
        self._client: DICOMwebClient = DICOMwebClient(root, session=session, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # ours does

    def ping(self) -> None:
        """Ask the smallest question: whether the service answers at all."""
        _parsed(lambda: self._client.search_for_studies(limit=1, offset=0))

    def studies(self, modalities: Sequence[str], since: datetime) -> list[ListedStudy]:
        """The studies with a series of one of `modalities` that began at `since` (local time) or later.

        One that tells no time of day is in; one without a date no PACS lists for a range of days.
        """
        # From the day before, and to no end: a study's time zone may be another, and a clock ahead.
        first = f"{since - timedelta(days=1):%Y%m%d}-"
        found: dict[str, set[str]] = {}
        fields = ["StudyDate", "StudyTime", "PatientID", "TimezoneOffsetFromUTC"]
        for modality in modalities:
            page = partial(
                self._client.search_for_studies,
                limit=PAGE,
                fields=fields,
                search_filters={"StudyDate": first, "ModalitiesInStudy": modality},
            )
            for item in _pages(page, (STUDY_UID, PATIENT_ID)):
                if _not_before(item, since):
                    found.setdefault(_text(item, STUDY_UID), set()).add(_text(item, PATIENT_ID))
        return [ListedStudy(uid, frozenset(patients)) for uid, patients in found.items() if uid]

    def images(self, study: str, modalities: Sequence[str], most: int) -> list[ListedImage]:
        """The objects in the study's series of `modalities`, at most `most` + 1 of them, sorted."""
        _check_uids(study)
        search = self._client.search_for_series
        found: set[ListedImage] = set()
        for item in _pages(partial(search, study, limit=PAGE), (SERIES_UID,)):
            if _text(item, MODALITY) in {"", *modalities}:
                series = _text(item, SERIES_UID)
                _check_uids(series)
                for uid in self.objects(study, series):
                    _check_uids(uid)
                    found.add(ListedImage(series, uid))
                    if len(found) > most:
                        return sorted(found)
        return sorted(found)

    def objects(self, study: str, series: str) -> Iterator[str]:
        """The UIDs of the objects in a series; none where there is no such series."""
        search = self._client.search_for_instances
        pages = _pages(partial(search, study, series, limit=PAGE), (OBJECT_UID,))
        try:
            yield from (_text(item, OBJECT_UID) for item in pages)
        except PacsError as error:
            if error.code != "pacs_not_found":
                raise

    def header(self, study: str, image: ListedImage) -> Dataset | None:
        """The header of an object; None where the PACS does not tell it apart from the whole object."""
        ask = self._client.retrieve_instance_metadata
        try:
            with python_warnings.catch_warnings():
                python_warnings.simplefilter("ignore")
                found = _parsed(lambda: [ask(study, image.series, image.uid)])[0]
                return Dataset.from_json(found)
        except PacsError as error:
            if error.code in ("pacs_not_found", "pacs_bad_answer"):
                return None
            raise
        except Exception:  # pydicom raises nearly anything on damage
            return None

    def fetch(self, study: str, image: ListedImage) -> bytes:
        """The bytes of an object as a DICOM file, in the transfer syntax in which the PACS has it."""
        url = f"{self._root}/studies/{study}/series/{image.series}/instances/{image.uid}"
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        response = self._session.get(url, headers={"Accept": accept})
        try:
            return only_part(response.raw.getvalue(), response.headers.get("Content-Type", ""))
        except BrokenMultipart as error:
            raise PacsError("pacs_bad_answer", str(error)) from None

    def store(self, study: str, made: Dataset) -> None:
        """Send an object into a study, once. Raises `PacsError` where the PACS did not take it.

        Where its answer does not name the object (some send none, or in a form that the client cannot read),
        it is looked up.
        """
        uid = str(made.SOPInstanceUID)
        try:
            answer = self._client.store_instances([made], study_instance_uid=study)
            failed = [int(item.get("FailureReason", 0)) for item in answer.get("FailedSOPSequence") or ()]
            taken = [item.ReferencedSOPInstanceUID for item in answer.get("ReferencedSOPSequence") or ()]
        except PacsError as error:
            # Also 409, "none was stored". Whether one is there is looked up before it is sent again.
            raise PacsError(
                "pacs_not_stored", f"storing: {error.reason}", error.passing, error.after
            ) from None
        except Exception:  # an answer in other words than PS3.18 has for it
            failed, taken = [], []
        refused = [reason for reason in failed if reason not in ALREADY_THERE]
        if refused:
            raise PacsError("pacs_not_stored", f"storing: refused with the reason 0x{refused[0]:04X}")
        if not failed and uid not in taken and uid not in self.objects(study, str(made.SeriesInstanceUID)):
            raise PacsError("pacs_not_stored", "storing: the PACS neither says that it took it nor lists it")


def _pages(page: Page, key: Sequence[str]) -> Iterator[Item]:
    """All results, page after page until one is empty or, of a server that pays no heed to offsets, old.

    Where a full page is followed by nothing, all are asked for once more at a larger limit: Orthanc (1.10,
    with ModalitiesInStudy) cuts the results to `limit` before it skips `offset` of them, so its second page
    is empty.
    """
    seen: set[tuple[str, ...]] = set()

    def fresh(items: list[Item]) -> Iterator[Item]:
        for item in items:
            identity = tuple(_text(item, tag) for tag in key)
            if identity not in seen:
                seen.add(identity)
                yield item

    offset = length = 0
    while True:
        items = _parsed(partial(page, offset=offset))
        known = len(seen)
        yield from fresh(items)
        if len(seen) == known:
            break
        offset, length = offset + len(items), len(items)
    limit = offset
    while length >= PAGE:
        limit *= 2
        items = _parsed(partial(page, offset=0, limit=limit))
        known = len(seen)
        yield from fresh(items)
        if len(seen) == known or len(items) < limit:
            return


def _check_uids(*uids: str) -> None:
    """Raise `PacsError` for what is not a UID: it would become another path of the server's."""
    if not all(_UID.fullmatch(uid) for uid in uids):
        raise PacsError("pacs_bad_answer", "the PACS lists an invalid UID")


def _parsed(ask: Callable[[], list[Item]]) -> list[Item]:
    """The results of a question; whatever cannot be read in the answer becomes a `PacsError`."""
    try:
        items = ask()
    except PacsError:
        raise
    except Exception:  # dicomweb-client raises what its parsers raise
        raise PacsError("pacs_bad_answer", "the response is not DICOM JSON") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise PacsError("pacs_bad_answer", "the response is not DICOM JSON")
    return items


def _text(item: Item, tag: str) -> str:
    """The first value of an attribute in DICOM JSON, "" where it has none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]).strip() if isinstance(values, list) and values and values[0] is not None else ""


def _began(item: Item) -> datetime | None:
    """Return when a study began, in local time without a zone; None where that is not stated."""
    date, time = _text(item, STUDY_DATE).replace(".", ""), _text(item, STUDY_TIME).replace(":", "")
    clock = time.split(".")[0]
    try:
        began = datetime.strptime(date + (clock + "0000")[:6], "%Y%m%d%H%M%S")
    except ValueError:
        return None
    if len(clock) < 2:
        return None
    offset = _text(item, OFFSET)
    try:
        minutes = int(offset[:3]) * 60 + int(offset[0] + offset[3:5])
        zone = timezone(timedelta(minutes=minutes))
    except (ValueError, IndexError):
        return began
    return began.replace(tzinfo=zone).astimezone().replace(tzinfo=None)


def _not_before(item: Item, since: datetime) -> bool:
    began = _began(item)
    return began is None or began >= since
