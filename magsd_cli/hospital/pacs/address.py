"""The address of the PACS and our credentials, which come from the environment or a netrc file alone."""

from __future__ import annotations

import base64
import ipaddress
import netrc
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from magsd_cli.errors import UsageError

USER, PASSWORD, TOKEN = "MAGSD_PACS_USER", "MAGSD_PACS_PASSWORD", "MAGSD_PACS_TOKEN"


@dataclass(frozen=True)
class Address:
    """The DICOMweb root `url`, which may be shown, and the Authorization header, which may not."""

    url: str
    authorization: str | None = field(default=None, repr=False)


def read_address(url: str) -> Address:
    """Check the address of a DICOMweb root and find the credentials for its host.

    They come from MAGSD_PACS_TOKEN (Bearer), else MAGSD_PACS_USER and MAGSD_PACS_PASSWORD (Basic), else the
    host's entry in the file NETRC or ~/.netrc. Raises `UsageError` for an address that is none, has
    credentials in it, or would get credentials over plain http on a network.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError("URL: cannot be read; write it as https://HOST:PORT/dicom-web") from None
    if "@" in parts.netloc:
        raise UsageError(
            "URL: credentials do not belong on the command line; leave them out and set "
            f"{USER} and {PASSWORD}"
        )
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise UsageError(
            "URL: is not a DICOMweb root; write it as https://HOST:PORT/dicom-web, without ? and #"
        )
    shown = f"[{host}]" if ":" in host else host
    root = f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    authorization = _from_environment() or _from_netrc(host)
    if authorization is not None and parts.scheme == "http" and not _is_loopback(host):
        raise UsageError(
            f"{root}: credentials are sent over plain http to this machine only; use https, or unset them"
        )
    return Address(root, authorization)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _from_environment() -> str | None:
    token, user, password = (os.environ.get(name) for name in (TOKEN, USER, PASSWORD))
    if token:
        return _header(f"Bearer {token}", TOKEN)
    if bool(user) != bool(password):
        raise UsageError(f"{USER} and {PASSWORD}: one is set without the other; set both or neither")
    return _basic(user, password) if user and password else None


def _from_netrc(host: str) -> str | None:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        mode = path.stat().st_mode
        entry = netrc.netrc(path).hosts.get(host)  # not the entry "default": that would tell it to any host
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        raise UsageError(f"{path}: cannot be read as a netrc file; fix it or unset NETRC") from None
    if entry is None:
        return None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{path}: others may read the credentials in it; run `chmod 600 {path}`")
    return _basic(entry[0], entry[2] or "")


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _header(value: str, name: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"{name}: has characters that no HTTP header may have; set it again")
    return value
