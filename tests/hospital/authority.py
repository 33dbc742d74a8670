"""Certificates of an authority that is made for a test, by openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

MISSING = "" if shutil.which("openssl") else "openssl is not installed: apt-get install openssl"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """`name` in `folder`: its certificate is `pem`; `issue` makes others."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, folder / f"{name}.key"
        self.pem = folder / f"{name}.pem"
        openssl(
            "req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key,
            "-out", self.pem,
        )  # fmt: skip

    def issue(self, name: str, use: str, of: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """A certificate and its key: `use` is serverAuth or clientAuth, `of` whom it names."""
        request, about = self._folder / f"{name}.csr", self._folder / f"{name}.txt"
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        about.write_text(f"subjectAltName={of}\nextendedKeyUsage={use}\n")
        openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl(
            "x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self._key, "-CAcreateserial",
            "-days", "2", "-extfile", about, "-out", certificate,
        )  # fmt: skip
        return certificate, key


def openssl(*words: str | Path) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def server_context(certificate: Path, key: Path, clients: Path | None = None) -> ssl.SSLContext:
    """TLS of a server; clients: the authority whose certificates it wants from them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
