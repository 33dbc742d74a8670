"""`magsd pacs screen`: a PACS's new chest radiographs into a table, and the answers back into the PACS.

Studies go through one after the other, images through the same workers as in `magsd predict`: some are
fetched ahead while others are scored, so memory stays flat. A study is answered with all its images or not at
all; what came of it enters the journal at once, so a kill costs the studies that are under way and no other.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.site_key import site_key
from magsd_cli.artifacts.tables import IN_TRAINING_DATA
from magsd_cli.console import counted, say, say_each
from magsd_cli.data.decode import DecodeError
from magsd_cli.data.dicom.fields import text
from magsd_cli.data.dicom.read import refuse_by_header
from magsd_cli.data.dicom.view import view_of
from magsd_cli.data.identity import identity_of, keyed_hash
from magsd_cli.errors import DeviceError, OutputError
from magsd_cli.hospital.pacs.address import read_address
from magsd_cli.hospital.pacs.answered import AnsweredStudies
from magsd_cli.hospital.pacs.dicomweb import ListedImage, ListedStudy, Pacs
from magsd_cli.hospital.pacs.http_session import PacsError, PacsSession
from magsd_cli.hospital.pacs.options import ScreenOptions, check_screen_options
from magsd_cli.hospital.sources import SourceError
from magsd_cli.inference.decision import DecisionRules, in_metadata, rules_of
from magsd_cli.inference.engines import choose_engine, precision_of, score_one_by_one
from magsd_cli.inference.model import Model, open_model
from magsd_cli.inference.predict import claimed
from magsd_cli.inference.resume import Row
from magsd_cli.inference.scoring import FileAnswer
from magsd_cli.inference.table.row import prediction_row

MOST_IMAGES = 1000  #: of a study; more are no examination of a chest but a mistake
IN_A_ROW = 5  #: studies that fail one after another before the PACS counts as out of order

#: Codes of images that screening does not ask for: they have their row, and are no error.
LEFT_OUT = {"lateral_view", "other_body_part", "for_processing", "not_xray", "ct_slice", "no_pixels"}


@dataclass
class PendingStudy:
    """A study under way: its images' rows as they come, and the files of those that are being scored."""

    study: ListedStudy
    key: str
    images: dict[str, ListedImage]  #: by the path of their rows, in order
    rows: dict[str, Row] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set, repr=False)
    problem: PacsError | None = None
    fetched: bool = False  #: whether all of it that will come has come

    def is_ready(self) -> bool:
        """True when nothing of it is being fetched or scored."""
        return self.fetched and (self.problem is not None or len(self.rows) == len(self.images))

    def scored(self) -> list[tuple[Path, Row]]:
        """File and row of each image with a result."""
        return [(self.files[path], row) for path, row in self.rows.items() if row["status"] == "ok"]


#: (study UID, file and row of each image with a result): puts what follows into the PACS, unless it is there.
Deliver = Callable[[str, Sequence[tuple[Path, Row]]], None]


def screen(options: ScreenOptions) -> int:
    """Score the studies that the PACS lists and the table does not have; write the table.

    Returns 0, or 3 when a study could not be fetched or one of its frontal images has an error row. Raises
    `DeviceError` when the PACS cannot be reached or does not answer as one, and the contract's other errors;
    the studies that were done by then stay in the table.
    """
    check_screen_options(options)
    address = read_address(options.url)
    certificate = (options.certificate, options.certificate_key) if options.certificate else None
    session = PacsSession(options.limits, address.authorization, options.ca, certificate)
    with claimed(options.out):
        scorer = _open_scorer(options)
        answered = AnsweredStudies(options.out, scorer.model.sha256, scorer.about)
        pacs = Pacs(address.url, session)
        try:
            studies = pacs.studies(options.modalities, datetime.now() - options.since)
        except PacsError as error:
            raise DeviceError(_in_words(address.url, error)) from None
        with _scratch(options.out) as folder, answered.journal():
            screening = Screening(options, pacs, scorer, answered, folder)
            screening.run(studies)
        answered.write()
    if screening.stopped is not None:
        raise DeviceError(_in_words(address.url, screening.stopped))
    return screening.conclude(len(studies))


def _in_words(address: str, error: PacsError) -> str:
    remedies = {
        "pacs_not_found": "is this the DICOMweb root? Orthanc's is https://HOST:PORT/dicom-web",
        "pacs_bad_answer": "is this the DICOMweb root?",
        "pacs_redirect": "use the address it redirects to, if that is the PACS",
    }
    if error.code == "pacs_tls":
        return f"{address}: {error.reason}"
    remedy = remedies.get(error.code, "run it again when the PACS is back: what was done is kept")
    return f"{address}: {error.reason}; {remedy}"


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder for the images under way, which nobody else can read; what a kill left there is removed."""
    folder = out.absolute().with_name(f".{out.name}.fetched")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: {error.strerror or error}; choose a folder that can be written"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Scorer:
    """A model with its engine and rules, and what the table says of them."""

    model: Model
    engine: str
    rules: DecisionRules
    about: dict[str, Any] = field(repr=False)


def _open_scorer(options: ScreenOptions) -> Scorer:
    model = open_model(options.model, options.runs)
    engine = choose_engine(model, device="cpu")
    rules = rules_of(model)
    about = model.metadata() | in_metadata(model, rules) | {"precision": precision_of(model, engine)}
    return Scorer(model, engine, rules, about)


def _open_delivery(pacs: Pacs, scorer: Scorer, options: ScreenOptions) -> Deliver:
    from magsd_cli.hospital.pacs.delivery import Delivery  # highdicom takes a second
    from magsd_cli.hospital.segmentation import RegionRule

    region = RegionRule(options.threshold, options.map)
    return Delivery(pacs, scorer.model, scorer.rules, region).deliver


class Screening:
    """One pass over the studies that a PACS lists."""

    def __init__(
        self, options: ScreenOptions, pacs: Pacs, scorer: Scorer, answered: AnsweredStudies, folder: Path
    ) -> None:
        self._options, self._pacs, self._scorer, self._answered = options, pacs, scorer, answered
        self._folder, self._site_key = folder, site_key(options.runs, options.key_file)
        self._trained_on = scorer.model.fold_of_content() or {}
        self._queue: deque[PendingStudy] = deque()
        self._owners: dict[Path, tuple[PendingStudy, str]] = {}
        self._done: list[Row] = []
        self._studies = self._known = self._failures = self._files = 0
        self._deliver = _open_delivery(pacs, scorer, options) if options.store else None
        self.stopped: PacsError | None = None  #: why the pass ended before its end

    def run(self, studies: Sequence[ListedStudy]) -> None:
        """Fetch, score and answer `studies`; those that failed before come last."""
        keyed = [(self._hash(study.uid), study) for study in studies]
        keyed.sort(key=lambda one: one[0] in self._answered.failed)
        hours = self._options.since.total_seconds() / 3600
        words = f"{counted(len(studies), 'study')} of the last {hours:g} hours"
        say(f"pacs: {words}", studies=len(studies), hours=hours)
        answers = score_one_by_one(
            self._scorer.model, self._scorer.engine, self._fetch(keyed), self._options.workers
        )
        for some in answers:
            for answer in some:
                self._take(answer)
            self._finish()
        self._finish()

    def _hash(self, identity: str) -> str:
        return keyed_hash(identity, lambda: self._site_key) or "h-none"

    def _fetch(self, studies: Sequence[tuple[str, ListedStudy]]) -> Iterator[Path]:
        """The files of the studies' images, fetched as they are asked for."""
        for key, study in studies:
            if self.stopped is not None:
                return
            pending = PendingStudy(study, key, {})
            try:
                if not self._list_images(pending):
                    continue
                self._queue.append(pending)
                for path, image in pending.images.items():
                    file = self._fetch_image(pending, path, image)
                    if file is not None:
                        yield file
            except PacsError as error:
                pending.problem = error
                if pending not in self._queue:
                    self._queue.append(pending)
                self._count_failure(error)
            else:
                self._failures = 0
            pending.fetched = True

    def _list_images(self, pending: PendingStudy) -> bool:
        """Set the study's images; whether there is anything to do with them."""
        listed = {name for name in pending.study.patients if name}
        if len(listed) > 1:
            raise _TWO_PATIENTS
        images = self._pacs.images(pending.study.uid, self._options.modalities, MOST_IMAGES)
        if len(images) > MOST_IMAGES:
            raise PacsError("too_many_images", f"more than {MOST_IMAGES} images; none is fetched")
        pending.images = {f"{pending.key}/{self._hash(image.uid)}": image for image in images}
        known = self._answered.answer(pending.key)
        if known is not None and known.covers(set(pending.images), self._options.store):
            self._known += 1
            return False
        return bool(images)

    def _fetch_image(self, pending: PendingStudy, path: str, image: ListedImage) -> Path | None:
        """Its file, or None where its header alone says that it is no frontal chest image."""
        header = self._pacs.header(pending.study.uid, image)
        refusal = None if header is None else _refusal(header)
        if refusal is not None:
            pending.patients.add(text(header, "PatientID"))
            pending.rows[path] = self._error_row(path, refusal.code, refusal.reason)
            return None
        data = self._pacs.fetch(pending.study.uid, image)
        self._files += 1
        file = self._folder / f"{self._files}.dcm"
        try:
            file.write_bytes(data)  # not made durable: it is gone in a moment, and fetched again after a kill
        except OSError as error:
            raise OutputError(f"{file}: {error.strerror or error}; free some space") from error
        identity = identity_of(data)
        if identity.study_uid not in ("", pending.study.uid):
            raise PacsError("pacs_bad_answer", "the PACS sends an image of another study")
        if identity != ("", ""):
            pending.patients.add(identity.patient_id)
        pending.files[path] = file
        self._owners[file] = (pending, path)
        return file

    def _count_failure(self, error: PacsError) -> None:
        """Stop where the PACS is away, or fails one study after another."""
        self._failures += 1
        if error.code not in _OF_THE_STUDY and self._failures >= IN_A_ROW:
            self.stopped = error
        elif error.code not in _OF_THE_STUDY:
            try:
                self._pacs.ping()
            except PacsError as away:
                self.stopped = away

    def _take(self, answer: FileAnswer) -> None:
        pending, path = self._owners.pop(answer.path)
        row = prediction_row(answer, self._scorer.model, self._scorer.rules, self._trained_on)
        pending.rows[path] = row | {"path": path}

    def _finish(self) -> None:
        """Answer the studies at the head of the queue that are complete."""
        while self._queue and self._queue[0].is_ready():
            pending = self._queue.popleft()
            rows = self._answer(pending)
            for file in pending.files.values():
                file.unlink(missing_ok=True)
            if rows:
                self._answered.add(pending.key, rows)
                self._done += rows
                self._studies += 1

    def _answer(self, pending: PendingStudy) -> list[Row]:
        """The study's rows, whose objects the PACS has where it is to have them; [] where it is away."""
        if pending.problem is None and len(pending.patients) > 1:
            pending.problem = _TWO_PATIENTS
        stored = None
        if pending.problem is None and pending.scored():
            stored = False
            if self._deliver is not None:
                try:
                    self._deliver(pending.study.uid, pending.scored())
                    stored = True
                except SourceError as error:
                    stored = None
                    for row in pending.rows.values():
                        row["warnings"] = [*row["warnings"], f"no report: {error.reason}"]
                except PacsError as error:
                    pending.problem = error
                    self._count_failure(error)
        if pending.problem is not None:
            # Where the PACS is away it was not the study: it is asked for again, and has no row of its own.
            if self.stopped is not None and pending.problem.code not in _OF_THE_STUDY:
                return []
            problem = pending.problem
            return [
                self._error_row(pending.key, problem.code, problem.reason) | self._of_study(pending, None)
            ]
        return [pending.rows[path] | self._of_study(pending, stored) for path in pending.images]

    def _of_study(self, pending: PendingStudy, stored: bool | None) -> Row:
        """The columns that all rows of a study share."""
        made_of = [self._scorer.model.sha256, str(self._scorer.about["operating_sha256"])]
        answer = self._hash(" ".join([*made_of, *sorted(image.uid for image in pending.images.values())]))
        before = self._answered.answer(pending.key)
        failed = pending.problem is not None
        replaces = None if before is None or before.answer == answer else before.answer
        return {
            "study": pending.key,
            "answer": None if failed else answer,
            "replaces": None if failed else replaces,
            "stored": stored,
        }

    def _error_row(self, path: str, code: str, reason: str) -> Row:
        answer = FileAnswer(Path(path), error_code=code, error=reason)
        return prediction_row(answer, self._scorer.model, self._scorer.rules, {}) | {"path": path}

    def conclude(self, listed: int) -> int:
        """Say how it ended; return the exit code."""
        errors = [row for row in self._done if row["status"] == "error" and row["error_code"] not in LEFT_OUT]
        left_out = sum(row["error_code"] in LEFT_OUT for row in self._done if row["status"] == "error")
        say_each([f"{row['path']}: {row['error_code']}: {row['error']}" for row in errors])
        seen = sum(IN_TRAINING_DATA in row["warnings"] for row in self._done)
        if seen:
            say(f"{counted(seen, 'image')} of the model's own training data", level="warning")
        failed = sum(row["path"] == row["study"] for row in self._done)
        scored = sum(row["status"] == "ok" for row in self._done)
        answered = self._studies - failed
        say(
            f"pacs: {counted(listed, 'study')}, {self._known} answered before, {answered} now "
            f"({counted(scored, 'image')}; {left_out} left out), {failed} with an error",
            studies=listed,
            known=self._known,
            answered=answered,
            images=scored,
            left_out=left_out,
            errors=failed,
        )
        return 3 if errors else 0


_TWO_PATIENTS = PacsError("two_patients", "its images name two patients, so the result belongs to neither")
_OF_THE_STUDY = {"two_patients", "too_many_images", "pacs_not_found", "pacs_too_large"}


def _refusal(header: Any) -> DecodeError | None:
    """Say why an image need not be fetched; None where only its file can tell."""
    try:
        refuse_by_header(header, view_of(header, []), [], lateral=False)
    except DecodeError as error:
        return error
    except Exception:  # pydicom raises nearly anything on damage
        return None
    return None
