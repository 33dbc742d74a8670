"""A server on loopback with as much DICOMweb as `magsd pacs screen` speaks, which misbehaves when told to."""

from __future__ import annotations

import io
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
from films import film, film_model

from magsd_cli.artifacts.tables import PREDICTION, read_table
from magsd_cli.hospital.pacs.http_session import HttpLimits
from magsd_cli.hospital.pacs.options import ScreenOptions
from magsd_cli.hospital.pacs.screening import screen

LIMITS = HttpLimits(connect=2, silence=1, total=3, most_bytes=200_000, retries=1, backoff=0.01)
RELATED = 'multipart/related; type="application/dicom"; boundary=mark'
Handler = BaseHTTPRequestHandler
Trick = Callable[[Handler], None]

#: What can be asked: the studies, a study's series, a series' objects, a header, an object; STOW-RS.
LIST, SERIES, OBJECTS, HEADER, IMAGE, STORE = "list", "series", "objects", "header", "image", "store"


class FakePacs:
    """Studies of films. `tricks`: (what is asked, study UID or "") -> what is answered instead.

    stored: the objects that were sent, in order; `asked`: path and authorization of each request.
    """

    def __init__(self, folder: Path, tls: ssl.SSLContext | None = None) -> None:
        self.folder = folder
        self.studies: dict[str, list[Path]] = {}
        self.tricks: dict[tuple[str, str], Trick] = {}
        self.stored: list[pydicom.Dataset] = []
        self.asked: list[str] = []
        self.authorizations: set[str | None] = set()
        self.cuts_first = False  #: as Orthanc 1.10 does with ModalitiesInStudy: `limit`, and then `offset`
        self.server = _Server(("127.0.0.1", 0), self._handler())
        if tls is not None:
            self.server.socket = tls.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_address[1]}/dicom-web"

    def add(self, study: str, films: int = 1, patients: tuple[str, ...] = ("P",)) -> None:
        self.studies[study] = [
            film(self.folder / f"{study}-{n}.dcm", study, n, patients[n % len(patients)])
            for n in range(1, films + 1)
        ]

    def answer(self, handler: Handler) -> None:
        """Answer a GET."""
        self.asked.append(handler.path)
        self.authorizations.add(handler.headers.get("Authorization"))
        parts = handler.path.partition("?")[0].split("/")[2:]
        kind = {1: LIST, 3: SERIES, 5: OBJECTS}.get(len(parts), HEADER if parts[-1] == "metadata" else IMAGE)
        study = parts[1] if len(parts) > 1 else ""
        if (kind, study) in self.tricks:
            self.tricks[kind, study](handler)
        elif kind == HEADER:
            send(handler, 404)
        elif kind == IMAGE:
            send_part(handler, self._object(*parts[1::2]))
        else:
            self._send_list(handler, kind, parts)

    def _send_list(self, handler: Handler, kind: str, parts: list[str]) -> None:
        """A page of studies, series or objects."""
        if kind == LIST:
            today = f"{datetime.now():%Y%m%d}"
            items = [{"0020000D": [uid], "00080020": [today]} for uid in self.studies]
        elif kind == SERIES:
            items = [{"0020000E": [parts[1] + ".1"], "00080060": ["DX"]}]
        else:
            items = [{"00080018": [uid]} for uid in self._objects(parts[1], parts[3])]
        page = [{tag: {"Value": value} for tag, value in item.items()} for item in items]
        asked = parse_qs(urlsplit(handler.path).query)
        offset, limit = (int(asked[name][0]) for name in ("offset", "limit"))
        page = page[:limit][offset:] if self.cuts_first else page[offset:][:limit]
        send(handler, 200, json.dumps(page).encode(), "application/dicom+json")

    def take(self, handler: Handler) -> None:
        """Store what a POST sends, and answer it."""
        self.asked.append(handler.path)
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        study = handler.path.rpartition("/")[2]
        trick = self.tricks.get((STORE, study))
        if trick is not None and trick in REFUSALS:
            trick(handler)
            return
        mark = f"--{handler.headers.get_param('boundary')}".encode()
        for one in body.split(mark)[1:-1]:
            content = one.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            self.stored.append(pydicom.dcmread(io.BytesIO(content)))
        if trick is not None:  # it is there, and the answer is lost
            trick(handler)
        else:
            found = [{"00081155": {"vr": "UI", "Value": [str(self.stored[-1].SOPInstanceUID)]}}]
            answer = json.dumps({"00081199": {"vr": "SQ", "Value": found}})
            send(handler, 200, answer.encode(), "application/dicom+json")

    def _objects(self, study: str, series: str) -> list[str]:
        if series == study + ".1":
            return [f"{series}.{number}" for number in range(1, len(self.studies[study]) + 1)]
        return [
            str(one.SOPInstanceUID)
            for one in self.stored
            if (one.StudyInstanceUID, one.SeriesInstanceUID) == (study, series)
        ]

    def _object(self, study: str, series: str, uid: str) -> bytes:
        if series == study + ".1":
            return self.studies[study][int(uid.rpartition(".")[2]) - 1].read_bytes()
        (found,) = (one for one in self.stored if uid == one.SOPInstanceUID)
        content = io.BytesIO()
        found.save_as(content, enforce_file_format=True)
        return content.getvalue()

    def _handler(self) -> type[Handler]:
        pacs = self

        class Answers(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                pacs.answer(self)

            def do_POST(self) -> None:
                pacs.take(self)

        return Answers


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up, or whose certificate is refused."""


@contextmanager
def serving(folder: Path, tls: ssl.SSLContext | None = None) -> Iterator[FakePacs]:
    """A fake PACS until the block ends, with a model in m.magsd of `folder`."""
    film_model(folder)
    fake = FakePacs(folder, tls)
    thread = threading.Thread(target=fake.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield fake
    finally:
        fake.server.shutdown()
        fake.server.server_close()
        thread.join()


def run(pacs: FakePacs, **options: Any) -> int:
    """Screen it into t.parquet with little patience."""
    given = {"url": pacs.url, "out": pacs.folder / "t.parquet", "model": pacs.folder / "m.magsd"}
    return screen(ScreenOptions(**given, runs=pacs.folder / "runs", limits=LIMITS, **options))


def rows(pacs: FakePacs) -> list[dict[str, Any]]:
    """The rows of that table."""
    found: list[dict[str, Any]] = read_table(pacs.folder / "t.parquet", PREDICTION).to_pylist()
    return found


def send(handler: Handler, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def part(data: bytes) -> bytes:
    return b"--mark\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--mark--\r\n"


def send_part(handler: Handler, data: bytes) -> None:
    send(handler, 200, part(data), RELATED)


def status(number: int) -> Trick:
    return lambda handler: send(handler, number)


def garbage(handler: Handler) -> None:
    send(handler, 200, b"\x00\xff<html>" * 50, "text/html")


def half(handler: Handler) -> None:
    """A whole answer in HTTP, and half a multipart."""
    send(handler, 200, part(b"DICM" * 1000)[:-30], RELATED)


def broken_off(handler: Handler) -> None:
    """Fewer bytes than the header announces."""
    handler.send_response(200)
    handler.send_header("Content-Type", RELATED)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(part(b"DICM" * 1000)[:-30])
    handler.close_connection = True


def redirect(handler: Handler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://elsewhere.invalid/")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def ten_gigabytes(handler: Handler) -> None:
    """As the header announces."""
    handler.send_response(200)
    handler.send_header("Content-Type", RELATED)
    handler.send_header("Content-Length", str(10 * 2**30))
    handler.end_headers()
    _pour(handler)


def endless(handler: Handler) -> None:
    """Of a length that nobody tells."""
    handler.send_response(200)
    handler.send_header("Content-Type", RELATED)
    handler.end_headers()
    _pour(handler)


def _pour(handler: Handler) -> None:
    with suppress(OSError):
        while True:
            handler.wfile.write(b"x" * 10_000)
    handler.close_connection = True


def drip(handler: Handler) -> None:
    with suppress(OSError):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.2)
    handler.close_connection = True


def silence(handler: Handler) -> None:
    time.sleep(2.5)
    handler.close_connection = True


FULL, BUSY, FORBIDDEN = status(409), status(503), status(401)


def lost(handler: Handler) -> None:
    """As if all were well."""
    send(handler, 200, b"<html>thank you</html>", "text/html")


REFUSALS = (FULL, BUSY, FORBIDDEN, lost)  #: of STOW-RS: nothing is stored
