"""The HTTP session to a PACS: nothing that a server does may hang, fill the memory or lead it elsewhere.

Every request has a time to connect, a time of silence and a time in all (a server that sends a byte now and
then is cut off by it), and an answer a limit in bytes. What passes by itself is asked again, after a while; a
POST is not, for whether it arrived must be looked up first. Redirects are refused, proxies and certificates
of the environment are not used, and no message quotes a URL, which holds a study's UID.
"""

from __future__ import annotations

import io
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import requests
import urllib3
from requests import exceptions as failures
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from magsd_cli.hospital.pacs.tls import tls_reason

CHUNK = 1 << 16
MOST_PATIENCE = 60.0  #: seconds that a server may ask for in Retry-After
PASSING = {408, 429, 500, 502, 503, 504}

for _library in ("dicomweb_client", "urllib3", "requests"):  # they log URLs
    logging.getLogger(_library).addHandler(logging.NullHandler())
    logging.getLogger(_library).propagate = False


@dataclass(frozen=True)
class HttpLimits:
    """Seconds to connect, of silence, for a request in all; bytes of an answer; further attempts."""

    connect: float = 10.0
    silence: float = 60.0
    total: float = 300.0
    most_bytes: int = 128 * 2**20
    retries: int = 3
    backoff: float = 1.0  #: seconds before the first retry, twice as long before each further one


class PacsError(Exception):
    """A request without a usable answer: a code and a reason, without any part of its URL.

    `passing`: the same request may well be answered a little later. `after`: in how many seconds, where the
    server says so.
    """

    def __init__(self, code: str, reason: str, passing: bool = False, after: float | None = None) -> None:
        super().__init__(reason)
        self.code, self.reason, self.passing, self.after = code, reason, passing, after


class PacsSession(requests.Session):
    """A session whose every answer is read whole, within `limits`, or is a `PacsError`."""

    def __init__(
        self,
        limits: HttpLimits,
        authorization: str | None = None,
        ca: Path | None = None,
        certificate: tuple[Path, Path | None] | None = None,
    ) -> None:
        super().__init__()
        self._limits = limits
        self._connections: WeakSet[Any] = WeakSet()
        self._jitter = random.Random()  # noqa: S311 (only so that two clients do not knock together)
        self.trust_env = False
        self.auth = _Authorization(authorization)
        self.verify = str(ca) if ca is not None else True
        if certificate is not None:
            file, key = certificate
            self.cert = str(file) if key is None else (str(file), str(key))
        self.headers["Accept-Encoding"] = "identity"
        self.headers["User-Agent"] = "magsd"
        for scheme in ("http://", "https://"):
            self.mount(scheme, _WatchedAdapter(self._connections))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send `request` and read the answer, asking again where that helps. Raises `PacsError`."""
        request.headers.pop("Host", None)  # dicomweb-client's has no port
        attempts = 1 + (self._limits.retries if request.method == "GET" else 0)
        for attempt in range(1, attempts + 1):
            try:
                return self._send_once(request, options)
            except PacsError as error:
                if attempt == attempts or not error.passing:
                    raise
                self.wait(attempt, error.after)
        raise AssertionError("unreachable")

    def wait(self, attempt: int, after: float | None = None) -> None:
        """Sleep before the attempt that follows number `attempt`; `after`: as long as the server asks for."""
        seconds = self._limits.backoff * 2 ** (attempt - 1) * self._jitter.uniform(0.75, 1.25)
        time.sleep(min(MOST_PATIENCE, seconds if after is None else max(seconds, after)))

    def _send_once(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        limits = self._limits
        timeouts = (limits.connect, limits.silence)
        with self._watched() as cut:
            try:
                response = super().send(
                    request, **options | {"stream": True, "timeout": timeouts, "allow_redirects": False}
                )
                response.raw = io.BytesIO(self._body(response))
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if not cut.is_set():
                    raise self._explained(error, request) from None
            # A body without a length just ends where the connection was cut.
            if cut.is_set():
                raise PacsError("pacs_timeout", f"no complete response within {limits.total:g} seconds")
        _refuse_status(response)
        return response

    def _explained(self, error: Exception, request: requests.PreparedRequest) -> PacsError:
        """`_explain`; a server that wants our certificate may hang up before its reason is read."""
        found = _explain(error, self._limits)
        if found.reason == _CLOSED and str(request.url).startswith("https:") and not self.cert:
            found.reason += "; does it want a certificate of ours (--client-cert)?"
        return found

    def _body(self, response: requests.Response) -> bytes:
        most = self._limits.most_bytes
        announced = response.headers.get("Content-Length", "")
        body = bytearray()
        try:
            if not announced.isdigit() or int(announced) <= most:
                for chunk in response.raw.stream(CHUNK, decode_content=True):
                    body += chunk
                    if len(body) > most:
                        break
                else:
                    return bytes(body)
        finally:
            response.close()
        raise PacsError("pacs_too_large", f"the response is larger than {most / 2**20:g} MiB (--max-mb)")

    @contextmanager
    def _watched(self) -> Iterator[threading.Event]:
        """Shut this session's connections when the total time is over, and say so."""
        cut = threading.Event()

        def shut() -> None:
            cut.set()
            for connection in list(self._connections):
                with suppress(OSError, AttributeError, TypeError):
                    # Not SSLSocket's own, which takes its state from under the thread that reads.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

        timer = threading.Timer(self._limits.total, shut)
        timer.daemon = True
        timer.start()
        try:
            yield cut
        finally:
            timer.cancel()


class _Authorization(AuthBase):
    """Sets the header; without a value, it keeps requests from looking for one."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value is not None:
            request.headers["Authorization"] = self._value
        return request


class _WatchedAdapter(HTTPAdapter):
    """Notes every connection that is made in `connections`."""

    def __init__(self, connections: WeakSet[Any]) -> None:
        self._noted = connections
        super().__init__(max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            scheme: _watched_pool(pool, self._noted)
            for scheme, pool in self.poolmanager.pool_classes_by_scheme.items()
        }


def _watched_pool(pool: Any, connections: WeakSet[Any]) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            connections.add(self)

    return type("WatchedPool", (pool,), {"ConnectionCls": Connection})


def _explain(error: Exception, limits: HttpLimits) -> PacsError:
    """Translate what requests, urllib3 or the system raised: the first of `_KINDS` that it belongs to."""
    if isinstance(error, failures.SSLError | ssl.SSLError):
        words = tls_reason(error)
        return PacsError("pacs_tls", words) if words else PacsError("pacs_unreachable", _CLOSED, True)
    code, reason = next((code, reason) for kinds, code, reason in _KINDS if isinstance(error, kinds))
    reason = reason.format(connect=limits.connect, silence=limits.silence)
    return PacsError(code, reason, passing=True)


_CLOSED = "no connection, or it was closed without an answer"
_KINDS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, str], ...] = (
    (failures.ConnectTimeout, "pacs_unreachable", "no connection within {connect:g} seconds"),
    (
        (failures.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError),
        "pacs_timeout",
        "no data for {silence:g} seconds",
    ),
    (
        (urllib3.exceptions.ProtocolError, failures.ChunkedEncodingError),
        "pacs_bad_answer",
        "the response ended early",
    ),
    (failures.ConnectionError, "pacs_unreachable", _CLOSED),
    ((requests.RequestException, urllib3.exceptions.HTTPError), "pacs_bad_answer", "no HTTP response"),
    (Exception, "pacs_unreachable", "the connection broke"),
)


def _refuse_status(response: requests.Response) -> None:
    """Raise `PacsError` for an answer that is a redirect or an error."""
    status = response.status_code
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise PacsError("pacs_redirect", f"HTTP {status} is a redirect, which is not followed")
    if status in (401, 403):
        raise PacsError(
            "pacs_refused",
            f"HTTP {status}: the credentials were refused (MAGSD_PACS_USER and MAGSD_PACS_PASSWORD, "
            "MAGSD_PACS_TOKEN, or a netrc file)",
        )
    if status in (404, 410):
        raise PacsError("pacs_not_found", f"HTTP {status}: not found")
    if status in PASSING:
        asked = response.headers.get("Retry-After", "")
        after = float(asked) if asked.isdigit() else None
        raise PacsError("pacs_unavailable", f"HTTP {status}", passing=True, after=after)
    raise PacsError("pacs_bad_answer", f"HTTP {status}")
