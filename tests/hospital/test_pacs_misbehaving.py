"""`magsd pacs screen` against a server that misbehaves: each case has its name, and nothing is lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from films import film, film_model

from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.errors import DeviceError, UsageError
from magsd_cli.hospital.pacs.address import read_address
from magsd_cli.hospital.pacs.http_session import HttpLimits
from magsd_cli.hospital.pacs.multipart import BrokenMultipart, only_part
from magsd_cli.hospital.pacs.screening import ScreenOptions, screen

LIMITS = HttpLimits(connect=2, silence=1, total=3, most_bytes=200_000, retries=1, backoff=0.01)
Handler = BaseHTTPRequestHandler


class FakePacs:
    """Studies of films on loopback. `tricks`: study UID -> what its images are answered with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.studies: dict[str, list[Path]] = {}
        self.tricks: dict[str, Callable[[Handler], None]] = {}
        self.listing: Callable[[Handler], None] | None = None
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"

    def add(self, study: str, films: int = 1, patients: tuple[str, ...] = ("P",)) -> None:
        self.studies[study] = [
            film(self.folder / f"{study}-{n}.dcm", study, n, patients[n % len(patients)])
            for n in range(1, films + 1)
        ]

    def _handler(self) -> type[Handler]:
        pacs = self

        class Answers(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                pacs.asked.append(self.path)
                parts = self.path.partition("?")[0].split("/")[2:]
                offset = int(self.path.partition("offset=")[2].partition("&")[0] or 0)
                if len(parts) == 1:
                    if pacs.listing is not None:
                        return pacs.listing(self)
                    today = f"{datetime.now():%Y%m%d}"
                    items = [{"0020000D": [uid], "00080020": [today]} for uid in pacs.studies]
                elif len(parts) == 3:
                    items = [{"0020000E": [parts[1] + ".1"], "00080060": ["DX"]}]
                elif len(parts) == 5:
                    count = len(pacs.studies[parts[1]])
                    items = [{"00080018": [f"{parts[1]}.1.{n}"]} for n in range(1, count + 1)]
                elif parts[-1] == "metadata":
                    return send(self, 404)
                else:
                    trick = pacs.tricks.get(parts[1])
                    number = int(parts[-1].rpartition(".")[2])
                    data = pacs.studies[parts[1]][number - 1].read_bytes()
                    return trick(self) if trick else send_part(self, data)
                page = [{tag: {"Value": value} for tag, value in item.items()} for item in items]
                return send(
                    self, 200, json.dumps(page[offset : offset + 100]).encode(), "application/dicom+json"
                )

        return Answers


def send(handler: Handler, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


RELATED = 'multipart/related; type="application/dicom"; boundary=mark'


def part(data: bytes) -> bytes:
    return b"--mark\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--mark--\r\n"


def send_part(handler: Handler, data: bytes) -> None:
    send(handler, 200, part(data), RELATED)


def status(number: int) -> Callable[[Handler], None]:
    return lambda handler: send(handler, number)


def garbage(handler: Handler) -> None:
    send(handler, 200, b"\x00\xff<html>" * 50, "text/html")


def half(handler: Handler) -> None:
    send(handler, 200, part(b"DICM" * 1000)[:-30], RELATED)


def redirect(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://elsewhere.invalid/")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", RELATED)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 10_000)
    except OSError:
        pass
    handler.close_connection = True


def drip(handler: Handler) -> None:
    try:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.2)
    except OSError:
        pass
    handler.close_connection = True


def silence(handler: Handler) -> None:
    time.sleep(2.5)
    handler.close_connection = True


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[FakePacs]:
    film_model(tmp_path)
    fake = FakePacs(tmp_path)
    fake.server.daemon_threads = True
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


def run(pacs: FakePacs, **options: Any) -> int:
    given = {"url": pacs.url, "out": pacs.folder / "t.parquet", "model": pacs.folder / "m.magsd"}
    return screen(ScreenOptions(**given, runs=pacs.folder / "runs", limits=LIMITS, **options))


def rows(pacs: FakePacs) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_table(pacs.folder / "t.parquet", PREDICTION).to_pylist()
    return found


OUTCOMES = [
    (status(401), "pacs_refused"),
    (status(404), "pacs_not_found"),
    (status(503), "pacs_unavailable"),
    (garbage, "pacs_bad_answer"),
    (half, "pacs_bad_answer"),
    (redirect, "pacs_redirect"),
    (endless, "pacs_too_large"),
    (silence, "pacs_timeout"),
    (drip, "pacs_timeout"),
]


NAMES = ["401", "404", "503", "garbage", "half", "redirect", "endless", "silence", "drip"]


@pytest.mark.parametrize(("trick", "code"), OUTCOMES, ids=NAMES)
def test_a_study_that_cannot_be_fetched_has_one_error_row_and_is_asked_for_again(
    pacs: FakePacs, trick: Callable[[Handler], None], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pacs.add("1.2.9001")
    pacs.add("1.2.9002")
    pacs.tricks["1.2.9001"] = trick
    assert run(pacs) == 3
    found = rows(pacs)
    assert sorted((row["status"], row["error_code"]) for row in found if row["error_code"]) == [
        ("error", code)
    ]
    assert len(found) == 2
    words = capsys.readouterr().err + str(found)
    assert "9001" not in words.replace(pacs.url, "")

    pacs.tricks.clear()
    assert run(pacs) == 0
    found = rows(pacs)
    assert [row["status"] for row in found] == ["ok", "ok"]
    before = len(pacs.asked)
    assert run(pacs) == 0
    assert not [path for path in pacs.asked[before:] if "/instances/" in path]


@pytest.mark.parametrize(
    "trick", [status(401), status(404), status(503), garbage, endless, silence, redirect]
)
def test_a_pacs_that_lists_nothing_is_exit_8_and_the_table_stays(
    pacs: FakePacs, trick: Callable[[Handler], None]
) -> None:
    pacs.add("1.2.9001")
    assert run(pacs) == 0
    before = (pacs.folder / "t.parquet").read_bytes()
    pacs.listing = trick
    with pytest.raises(DeviceError, match=pacs.url):
        run(pacs)
    assert (pacs.folder / "t.parquet").read_bytes() == before


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


def test_two_patients_in_a_study(pacs: FakePacs) -> None:
    pacs.add("1.2.9001", 2, ("P", "Q"))
    assert run(pacs) == 3
    assert [(row["error_code"], row["predicted"]) for row in rows(pacs)] == [("two_patients", None)]


def test_two_hundred_images_in_a_study(pacs: FakePacs) -> None:
    pacs.add("1.2.9001", 200)
    assert run(pacs) == 0
    found = rows(pacs)
    assert len(found) == 200
    assert len({row["answer"] for row in found}) == 1


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
