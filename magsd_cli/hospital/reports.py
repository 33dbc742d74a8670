"""`magsd predict --dicom-sr`: after the table, a Structured Report for each study."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from magsd_cli.artifacts.site_key import site_key
from magsd_cli.console import counted, is_verbose, printable, say
from magsd_cli.errors import NoInputError, UsageError
from magsd_cli.hospital.algorithm import Algorithm, algorithm_of
from magsd_cli.hospital.codes import class_codes
from magsd_cli.hospital.result_folder import SR, ResultFolder, check_result_folder, open_result_folder
from magsd_cli.hospital.sources import Source, SourceError, one_study, open_source
from magsd_cli.hospital.structured_report import build_sr, sr_series_uid, sr_uid
from magsd_cli.inference.model import Model
from magsd_cli.inference.predict import Answered, PredictOptions, answer_files

MOST_NAMED = 5


@dataclass
class Outcome:
    """The numbers of objects made and kept, and why some could not be made, by their source's path."""

    made: int = 0
    kept: int = 0
    refused: dict[Path, str] = field(default_factory=dict)

    def conclude(self, what: str, folder: Path, code: int) -> int:
        """Say how it ended; return the exit code: `code`, or 3 where something was refused.

        Raises `NoInputError` where nothing could be made.
        """
        said = [f"{printable(str(path))}: no {what}: {reason}" for path, reason in self.refused.items()]
        for line in said if is_verbose() else said[:MOST_NAMED]:
            say(line, level="warning")
        if len(said) > MOST_NAMED and not is_verbose():
            counts = Counter(list(self.refused.values())[MOST_NAMED:])
            more = "; ".join(
                f"{counted(number, 'file')}: {reason}" for reason, number in counts.most_common()
            )
            say(
                f"... and {len(self.refused) - MOST_NAMED} more files without a {what}: {more}",
                level="warning",
            )
        words = f"{self.made} made, {self.kept} there already, in {folder}"
        say(f"{what}: {words}", made=self.made, kept=self.kept, refused=len(said), folder=folder)
        if self.refused and not (self.made or self.kept):
            raise NoInputError(f"{folder}: no {what} could be made; name DICOM images of whole studies")
        return 3 if self.refused else code


def predict_with_reports(options: PredictOptions, folder: Path, codes: Path | None) -> int:
    """Predict, and leave a Structured Report for each study in `folder`.

    codes: a CSV with the codes of the classes, see `class_codes`. A report that is there is kept, one about a
    study that has grown names the earlier ones. Returns 3 where a file with an answer got no report (it is no
    DICOM, or its study has two patients), else as `predict`. Raises as it does, and `NoInputError` where no
    report could be made.
    """
    if options.parts:
        raise UsageError(
            "--dicom-sr: needs the table in one file; name it with --out FILE, without a / behind"
        )
    check_result_folder(folder)
    coded: dict[str, Any] = {}

    def check(model: Model) -> None:
        coded.update(class_codes(model.classes, model.recipe, codes))

    options = replace(options, other_outputs=(*options.other_outputs, folder))
    answered = answer_files(options, check, keep_answers=True)
    algorithm = algorithm_of(answered.model, answered.rules, coded)
    with open_result_folder(folder, lru_cache(partial(site_key, options.runs))) as results:
        outcome = write_reports(answered, algorithm, results)
    return outcome.conclude("DICOM report", folder, answered.code)


def write_reports(answered: Answered, algorithm: Algorithm, results: ResultFolder) -> Outcome:
    """A report for each study of the files that have an answer; headers are in memory a study at a time."""
    outcome = Outcome()
    rows = {path: row for path, row in answered.rows.items() if row["status"] == "ok"}
    studies: dict[str, list[Path]] = defaultdict(list)
    for path in rows:
        try:
            studies[open_source(path).study_uid].append(path)
        except SourceError as error:
            outcome.refused[path] = error.reason
    for paths in studies.values():
        try:
            sources = [_unchanged(path, rows[path]) for path in paths]
            one_study(sources)
            made = _report(sources, [rows[path] for path in paths], algorithm, results)
        except SourceError as error:
            outcome.refused |= dict.fromkeys(paths, error.reason)
            continue
        outcome.made += made
        outcome.kept += not made
    return outcome


def _unchanged(path: Path, row: Mapping[str, Any]) -> Source:
    source = open_source(path)
    if source.sha256 != row["sha256"]:
        raise SourceError("a file changed after it was scored; run it again")
    return source


def _report(
    sources: list[Source], rows: list[Mapping[str, Any]], algorithm: Algorithm, results: ResultFolder
) -> bool:
    """Make the report of a study; False where it is there already."""
    chosen = distinct_images(sources, rows)
    sources, rows = [one for one, _ in chosen], [row for _, row in chosen]
    study = sources[0].study_uid
    path = results.object_path(study, SR, sr_uid(sources, algorithm))
    if path.exists():
        return False
    series = sr_series_uid(study, algorithm)
    previous = [one for one in results.objects_of(study, SR) if one.SeriesInstanceUID == series]
    results.write(path, build_sr(sources, rows, algorithm, previous))
    return True


def distinct_images(
    sources: list[Source], rows: list[Mapping[str, Any]]
) -> list[tuple[Source, Mapping[str, Any]]]:
    """The images of a study with their rows, a copy of an image left out, by SOPInstanceUID.

    Raises `SourceError` where two images of different content have one UID.
    """
    found: dict[str, tuple[Source, Mapping[str, Any]]] = {}
    for source, row in zip(sources, rows, strict=True):
        uid = str(source.header.SOPInstanceUID)
        if uid in found and found[uid][0].sha256 != source.sha256:
            raise SourceError("two different images of its study have one SOPInstanceUID")
        found.setdefault(uid, (source, row))
    return [found[uid] for uid in sorted(found)]
