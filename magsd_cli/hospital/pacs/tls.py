"""TLS to a PACS: the files that are named are checked first, and what failed is said in words.

Certificates are always verified. OpenSSL's own messages are not shown, but for the name of its reason.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from magsd_cli.errors import UsageError

UNTRUSTED = "its certificate is of an authority that is not trusted here; name its file with --ca"
OUT_OF_DATE = "its certificate is not valid today; have it renewed, or set this machine's clock"
OTHER_NAME = "its certificate is for another name than the address has; write that name"
WANTS_OURS = "it wants a certificate of ours that it trusts; name it with --client-cert and --client-key"
NO_TLS = "it does not speak TLS there; is it http, or another port?"

#: OpenSSL's verify codes (x509_vfy.h).
_VERIFY = {9: OUT_OF_DATE, 10: OUT_OF_DATE, 62: OTHER_NAME, 64: OTHER_NAME}
#: Parts of OpenSSL's reasons: alerts by which a server refuses the client, and answers that are no TLS.
_REASONS = {
    "CERTIFICATE_REQUIRED": WANTS_OURS,
    "ALERT_UNKNOWN_CA": WANTS_OURS,
    "ALERT_BAD_CERTIFICATE": WANTS_OURS,
    "ALERT_CERTIFICATE": WANTS_OURS,
    "ALERT_HANDSHAKE_FAILURE": WANTS_OURS,
    "WRONG_VERSION_NUMBER": NO_TLS,
    "HTTP_REQUEST": NO_TLS,
}


def check_pem_files(ca: Path | None, certificate: Path | None, key: Path | None) -> None:
    """Raise `UsageError` for a file of --ca, --client-cert or --client-key that holds not what it should."""
    if ca is not None:
        try:
            ssl.create_default_context(cafile=ca)
        except (OSError, ValueError):
            raise UsageError(f"--ca {ca}: has no certificate that can be read; name a PEM file") from None
    if certificate is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, _refuse_to_ask)
    except _LockedKey:
        raise UsageError(
            f"{'--client-cert' if key is None else '--client-key'} {key or certificate}: the key wants a "
            "password; make a copy without one that only this user may read"
        ) from None
    except (OSError, ValueError):
        what = "and its key" if key is None else f"and --client-key {key}"
        raise UsageError(
            f"--client-cert {certificate} {what}: are no certificate with its key; name PEM files"
        ) from None


class _LockedKey(Exception):  # noqa: N818 (no error: OpenSSL asked)
    """The key is encrypted."""


def _refuse_to_ask() -> str:
    raise _LockedKey


def tls_reason(error: BaseException) -> str | None:
    """Say in words why a TLS connection failed, from whatever requests and urllib3 made of OpenSSL's error.

    None where the other side just hung up.
    """
    for one in _causes(error):
        if isinstance(one, ssl.SSLEOFError):
            return None
        if isinstance(one, ssl.SSLCertVerificationError):
            return _VERIFY.get(one.verify_code, UNTRUSTED)
        if type(one).__name__ == "CertificateError":  # urllib3's own check of the name
            return OTHER_NAME
        if isinstance(one, ssl.SSLError) and one.reason:
            known = [words for part, words in _REASONS.items() if part in one.reason]
            return known[0] if known else f"the TLS handshake failed ({one.reason})"
    return "the TLS handshake failed"


def _causes(error: BaseException) -> list[BaseException]:
    """`error` and all errors that it was made of."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and all(one is not known for known in found):
            found.append(one)
            waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    return found
