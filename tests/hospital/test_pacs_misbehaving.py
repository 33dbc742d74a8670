"""`magsd pacs screen` against a server that misbehaves: each case has its name, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import fake_pacs
import pydicom
import pytest
from fake_pacs import (
    HEADER,
    IMAGE,
    LIMITS,
    LIST,
    OBJECTS,
    RELATED,
    SERIES,
    STORE,
    FakePacs,
    Trick,
    broken_off,
    drip,
    endless,
    garbage,
    half,
    part,
    redirect,
    rows,
    run,
    silence,
    status,
    ten_gigabytes,
)
from films import film_model

from magsd_cli.errors import DeviceError, UsageError
from magsd_cli.hospital.pacs.address import read_address
from magsd_cli.hospital.pacs.dicomweb import Pacs
from magsd_cli.hospital.pacs.http_session import PacsSession
from magsd_cli.hospital.pacs.multipart import BrokenMultipart, only_part
from magsd_cli.hospital.pacs.options import ScreenOptions
from magsd_cli.hospital.pacs.screening import screen
from magsd_cli.hospital.regions import localize_with_objects
from magsd_cli.hospital.result_folder import SEG
from magsd_cli.localization.localize import LocalizeOptions
from magsd_cli.settings import Map


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[FakePacs]:
    with fake_pacs.serving(tmp_path) as fake:
        yield fake


OUTCOMES: dict[str, tuple[Trick, str]] = {
    "401": (status(401), "pacs_refused"),
    "403": (status(403), "pacs_refused"),
    "404": (status(404), "pacs_not_found"),
    "500": (status(500), "pacs_unavailable"),
    "503": (status(503), "pacs_unavailable"),
    "garbage": (garbage, "pacs_bad_answer"),
    "half": (half, "pacs_bad_answer"),
    "broken off": (broken_off, "pacs_bad_answer"),
    "redirect": (redirect, "pacs_redirect"),
    "10 GB": (ten_gigabytes, "pacs_too_large"),
    "endless": (endless, "pacs_too_large"),
    "silence": (silence, "pacs_timeout"),
    "drip": (drip, "pacs_timeout"),
}


def failures(pacs: FakePacs, kind: str, names: list[str]) -> dict[str, str | None]:
    """The error code of a study that fails in the way of each name of `OUTCOMES` when `kind` is asked for.

    A whole study follows each of them, so that the PACS does not count as out of order.
    """
    for number, name in enumerate(names):
        pacs.add(f"1.2.9{number:03}")
        pacs.tricks[kind, f"1.2.9{number:03}"] = OUTCOMES[name][0]
        pacs.add(f"1.2.8{number:03}")
        pacs.studies = dict(sorted(pacs.studies.items(), key=lambda one: one[0][5:]))
    assert run(pacs) == 3
    found = rows(pacs)
    assert len(found) == 2 * len(names)
    assert sum(row["status"] == "ok" for row in found) == len(names)
    bad = [row for row in found if row["status"] == "error"]
    assert all(row["path"] == row["study"] for row in bad)
    return dict(zip(names, [row["error_code"] for row in bad], strict=True))


@pytest.mark.parametrize("kind", [SERIES, OBJECTS, IMAGE])
def test_a_study_that_cannot_be_fetched_has_one_error_row_and_is_asked_for_again(
    pacs: FakePacs, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left_out = {IMAGE: set(), SERIES: {"half"}, OBJECTS: {"half", "404"}}[kind]
    names = [name for name in OUTCOMES if name not in left_out]
    assert failures(pacs, kind, names) == {name: OUTCOMES[name][1] for name in names}
    words = capsys.readouterr().err + str(rows(pacs))
    assert "1.2.9" not in words
    assert "1.2.8" not in words

    pacs.tricks.clear()
    assert run(pacs) == 0
    assert {row["status"] for row in rows(pacs)} == {"ok"}
    assert len(rows(pacs)) == 2 * len(names)
    before = len(pacs.asked)
    assert run(pacs) == 0
    assert not [path for path in pacs.asked[before:] if path.endswith((".1.1", "/metadata"))]


def test_a_header_that_cannot_be_had_alone_costs_nothing_and_a_refused_one_its_study(pacs: FakePacs) -> None:
    for number, name in enumerate(("404", "garbage", "401")):
        pacs.add(f"1.2.9{number}")
        pacs.tricks[HEADER, f"1.2.9{number}"] = OUTCOMES[name][0]
    assert run(pacs) == 3
    assert [row["error_code"] for row in rows(pacs)] == [None, None, "pacs_refused"]


def test_a_study_whose_objects_are_gone_has_no_row_and_is_asked_for_again(pacs: FakePacs) -> None:
    pacs.add("1.2.9001")
    pacs.tricks[OBJECTS, "1.2.9001"] = status(404)
    assert run(pacs) == 0
    assert rows(pacs) == []
    pacs.tricks.clear()
    assert run(pacs) == 0
    assert len(rows(pacs)) == 1


def test_a_pacs_that_lists_nothing_is_exit_8_and_the_table_stays(pacs: FakePacs) -> None:
    pacs.add("1.2.9001")
    assert run(pacs) == 0
    before = (pacs.folder / "t.parquet").read_bytes()
    for trick, _ in OUTCOMES.values():
        pacs.tricks[LIST, ""] = trick
        with pytest.raises(DeviceError, match=pacs.url):
            run(pacs)
        assert (pacs.folder / "t.parquet").read_bytes() == before


@pytest.mark.parametrize("cuts_first", [False, True])
@pytest.mark.parametrize("count", [0, 99, 100, 101, 300])
def test_all_pages_are_read(pacs: FakePacs, count: int, cuts_first: bool) -> None:
    pacs.studies = {f"1.2.{number}": [] for number in range(count)}
    pacs.cuts_first = cuts_first
    found = Pacs(pacs.url, PacsSession(LIMITS)).studies(("CR", "DX"), datetime.now() - timedelta(days=1))
    assert {one.uid for one in found} == set(pacs.studies)
    assert len(found) == count


def test_an_unreachable_pacs_is_named_without_credentials(
    pacs: FakePacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGSD_PACS_USER", "nightly")
    monkeypatch.setenv("MAGSD_PACS_PASSWORD", "secret-word")
    out, model = pacs.folder / "t.parquet", pacs.folder / "m.magsd"
    options = ScreenOptions("http://127.0.0.1:9/dw", out, model, pacs.folder, limits=LIMITS)
    with pytest.raises(DeviceError, match="dw: no connection") as caught:
        screen(options)
    assert "secret" not in str(caught.value)
    assert "nightly" not in str(caught.value)


def test_of_a_study_of_two_patients_nothing_is_sent(pacs: FakePacs) -> None:
    pacs.add("1.2.9001", 2, ("P", "Q"))
    assert run(pacs, store=True) == 3
    assert [(row["error_code"], row["predicted"]) for row in rows(pacs)] == [("two_patients", None)]
    assert pacs.stored == []


@pytest.mark.timeout(900)
def test_two_hundred_images_in_a_study_are_one_answer_that_is_sent_once(pacs: FakePacs) -> None:
    pacs.add("1.2.9001", 200)
    assert run(pacs, store=True) == 0
    found = rows(pacs)
    assert len(found) == 200
    assert len({row["answer"] for row in found}) == 1
    assert sorted(one.Modality for one in pacs.stored) == ["SEG"] * 200 + ["SR"]
    (pacs.folder / "t.parquet").unlink()
    assert run(pacs, store=True) == 0
    assert len(pacs.stored) == 201


def test_more_images_than_a_chest_study_has_are_not_fetched(
    pacs: FakePacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("magsd_cli.hospital.pacs.screening.MOST_IMAGES", 3)
    pacs.add("1.2.9001", 4)
    assert run(pacs) == 3
    assert [row["error_code"] for row in rows(pacs)] == ["too_many_images"]
    assert not [path for path in pacs.asked if path.endswith((".1.1", "/metadata"))]


@pytest.mark.parametrize(
    "trick",
    [fake_pacs.FULL, fake_pacs.BUSY, fake_pacs.FORBIDDEN, fake_pacs.lost, silence, redirect],
    ids=["409", "503", "401", "lost", "answer lost", "redirect"],
)
def test_an_answer_that_the_pacs_does_not_take_is_sent_again_and_none_twice(
    pacs: FakePacs, trick: Trick
) -> None:
    pacs.add("1.2.9001", 2)
    pacs.add("1.2.9002")
    pacs.tricks[STORE, "1.2.9001"] = trick
    assert run(pacs, store=True) == 3
    found = {row["path"] == row["study"]: row["error_code"] for row in rows(pacs)}
    assert found == {True: "pacs_not_stored", False: None}
    pacs.tricks.clear()
    assert run(pacs, store=True) == 0
    assert {(row["status"], row["stored"]) for row in rows(pacs)} == {("ok", True)}
    uids = [str(one.SOPInstanceUID) for one in pacs.stored]
    assert len(uids) == len(set(uids)) == 2 + 3  # a report a study, a segmentation a film


def test_an_answer_that_cannot_be_read_is_looked_up(pacs: FakePacs) -> None:
    pacs.add("1.2.9001")
    pacs.tricks[STORE, "1.2.9001"] = garbage
    assert run(pacs, store=True) == 0
    assert [row["stored"] for row in rows(pacs)] == [True]
    assert len(pacs.stored) == 2


def test_the_regions_that_are_sent_are_localizes(pacs: FakePacs) -> None:
    film_model(pacs.folder, class_maps=True)
    pacs.add("1.2.9001")
    kinds: list[dict[str, object]] = [{}, {"threshold": 0.8}, {"threshold": 0.8, "map": Map.evidence}]
    for number, kind in enumerate(kinds):
        (pacs.folder / "t.parquet").unlink(missing_ok=True)
        assert run(pacs, store=True, **kind) == 0
        options = LocalizeOptions(
            [pacs.studies["1.2.9001"][0]],
            pacs.folder / "m.magsd",
            pacs.folder / "runs",
            name=f"l{number}",
            **kind,  # type: ignore[arg-type]
        )
        folder = pacs.folder / f"seg{number}"
        localize_with_objects(options, {SEG: folder})
        (path,) = folder.glob("*.dcm")
        sent, local = pacs.stored[-1], pydicom.dcmread(path)
        assert (sent.SOPInstanceUID, sent.PixelData) == (local.SOPInstanceUID, local.PixelData)
    segmentations = [one for one in pacs.stored if one.Modality == "SEG"]
    assert len({one.SOPInstanceUID for one in segmentations}) == len(kinds)
    assert len({one.PixelData for one in segmentations}) == len(kinds)
    labels = [one.SegmentSequence[0].SegmentLabel for one in segmentations]
    assert labels == ["Attended region"] * 2 + ["Evidence for the predicted class"]


def test_credentials_go_over_plain_http_to_loopback_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="command line") as caught:
        read_address("https://user:word@pacs.example/dicom-web")
    assert "word@" not in str(caught.value)
    assert read_address("http://pacs.example/dicom-web").authorization is None
    monkeypatch.setenv("MAGSD_PACS_TOKEN", "abc")
    assert read_address("http://127.0.0.1:8042/dicom-web/").authorization == "Bearer abc"
    assert read_address("https://pacs.example/dicom-web").authorization == "Bearer abc"
    assert "abc" not in repr(read_address("https://pacs.example/dicom-web"))
    with pytest.raises(UsageError, match="plain http"):
        read_address("http://pacs.example/dicom-web")

    monkeypatch.delenv("MAGSD_PACS_TOKEN")
    secrets = tmp_path / "netrc"
    secrets.write_text("machine pacs.example login a password b\n")
    secrets.chmod(0o644)
    monkeypatch.setenv("NETRC", str(secrets))
    with pytest.raises(UsageError, match="chmod 600"):
        read_address("https://pacs.example/x")
    secrets.chmod(0o600)
    assert read_address("https://pacs.example/x").authorization == "Basic YTpi"
    assert read_address("https://other.example/x").authorization is None


def test_only_a_whole_multipart_has_a_part() -> None:
    assert only_part(part(b"a\r\nb"), RELATED) == b"a\r\nb"
    for body in (part(b"ab")[:-6], part(b"ab")[:-2].replace(b"--mark--", b"--mark"), b"", b"--mark"):
        with pytest.raises(BrokenMultipart):
            only_part(body, RELATED)
    with pytest.raises(BrokenMultipart):
        only_part(part(b"ab"), "text/plain")
