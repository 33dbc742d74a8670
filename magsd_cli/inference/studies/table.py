"""`predict --by study`: which study each row of a prediction table is of, and a table with a row a study.

Studies and patients appear as keyed hashes alone. The table of studies, ``<name>.studies.parquet`` beside the
prediction table, follows from all rows of that table, so it is whole whatever was scored in this call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from magsd_cli.artifacts.columns import table_from_rows
from magsd_cli.artifacts.tables import path_text, probability_column, write_parquet, write_plain_csv
from magsd_cli.console import counted, say
from magsd_cli.data.identity import Identity, keyed_hash, read_identity
from magsd_cli.inference.decision import DecisionRules
from magsd_cli.inference.studies.answer import study_answer

Row = Mapping[str, Any]
STUDY, PATIENT = "study_id", "patient_id"
#: What `--by study` adds to the columns of a prediction table: "" for a file without a study.
COLUMNS = (pa.field(STUDY, pa.string()), pa.field(PATIENT, pa.string()))
TWO_PATIENTS = ("two_patients", "its images name two patients")
NO_IMAGE = ("no_frontal_image", "none of its images could be classified")


def studies_path(out: Path) -> Path:
    """Return the path of the table of studies beside the prediction table `out`."""
    return out.with_name(f"{out.stem}.studies{out.suffix}")


def with_studies(
    rows: Sequence[Row], files: Iterable[Path], key: Callable[[], bytes]
) -> list[dict[str, Any]]:
    """The rows with their study and patient; headers are read of those that do not have them yet: rows of
    before, of a cluster, and of files that took their worker with them.

    key: gives the site key when it is needed.
    """
    paths = {path_text(path): path for path in files}
    found = []
    for row in rows:
        if row.get(STUDY) is not None:
            found.append(dict(row))
            continue
        path = paths.get(row["path"])
        identity = Identity("", "") if path is None else read_identity(path)
        found.append({**row, **id_columns(identity, key)})
    return found


def id_columns(identity: Identity, key: Callable[[], bytes]) -> dict[str, str]:
    """The columns of `COLUMNS` for a file; a patient without a study is nobody's."""
    study = keyed_hash(identity.study_uid, key)
    return {STUDY: study, PATIENT: keyed_hash(identity.patient_id, key) if identity.study_uid else ""}


def study_rows(rows: Sequence[Row], rules: DecisionRules) -> list[dict[str, Any]]:
    """A row for each study of the rows, in the order of their first images; the rule is `study_answer`'s.

    A study of two patients, or without an image that could be classified, has an error row.
    """
    studies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row[STUDY]:
            studies[row[STUDY]].append(row)
    return [_study_row(study, of_it, rules) for study, of_it in studies.items()]


def _study_row(study: str, rows: Sequence[Row], rules: DecisionRules) -> dict[str, Any]:
    patients = {row[PATIENT] for row in rows}
    answer = study_answer(rows, rules)
    problem = TWO_PATIENTS if len(patients) > 1 else NO_IMAGE if answer is None else None
    head = {
        STUDY: study,
        PATIENT: rows[0][PATIENT] if len(patients) == 1 else None,
        "status": "error" if problem else "ok",
        "model_sha256": rows[0]["model_sha256"],
    }
    if problem is not None or answer is None:
        code, reason = problem or NO_IMAGE
        usable = sum(row["status"] == "ok" for row in rows)
        return head | {"error_code": code, "error": reason, "images": usable}
    return head | answer.columns()


def studies_schema(classes: Sequence[str]) -> pa.Schema:
    """The columns of a studies table, in order. `images`: how many frontal images the answer is from."""
    texts = [(name, pa.string()) for name in (STUDY, PATIENT, "status", "error_code", "error")]
    answer = [("images", pa.int32()), ("rule", pa.string()), ("predicted", pa.string())]
    probabilities = [(probability_column(name), pa.float32()) for name in classes]
    decided = [("decision", pa.string()), ("refer", pa.bool_()), ("refer_reason", pa.string())]
    end = [("confidence", pa.float32()), *decided, ("model_sha256", pa.string())]
    return pa.schema([*texts, *answer, *probabilities, *end])


def write_studies(rows: Sequence[Row], rules: DecisionRules, out: Path) -> int:
    """Write the studies of the rows beside their table `out`, and say how many there are.

    Returns the number of studies with an error row. Raises `OutputError`.
    """
    studies = study_rows(rows, rules)
    table = table_from_rows(studies, studies_schema(rules.classes))
    path = studies_path(out)
    if path.suffix.lower() == ".csv":
        write_plain_csv(table, path)
    else:
        write_parquet(path, table)
    alone = sum(not row[STUDY] for row in rows)
    failed = len([study for study in studies if study["status"] == "error"])
    without = f"; {counted(alone, 'file')} without a study in the header" if alone else ""
    words = f"{counted(len(studies), 'study')}, {failed} with an error, in {path}{without}"
    say(f"studies: {words}", studies=len(studies), errors=failed, table=path)
    return failed
