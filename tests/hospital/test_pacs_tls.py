"""`magsd pacs screen` over https: who is trusted, who we are, and what is said where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fake_pacs
import pytest
from authority import MISSING, Authority, openssl, server_context
from fake_pacs import IMAGE, LIST, FakePacs, drip, redirect, rows, run

from magsd_cli.cli import main
from magsd_cli.errors import DeviceError, UsageError

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "openssl is here")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that vouches for server and clients."""
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture
def pacs(ours: Authority, tmp_path: Path) -> Iterator[FakePacs]:
    """A PACS with one study behind TLS."""
    with fake_pacs.serving(tmp_path, server_context(*ours.issue("server", "serverAuth"))) as fake:
        fake.add("1.2.9001")
        yield fake


@pytest.fixture
def strict_pacs(ours: Authority, tmp_path: Path) -> Iterator[FakePacs]:
    """The same, which wants a certificate from its clients."""
    context = server_context(*ours.issue("server", "serverAuth"), clients=ours.pem)
    with fake_pacs.serving(tmp_path, context) as fake:
        fake.add("1.2.9001")
        yield fake


def test_the_authority_that_is_named_is_trusted_and_is_told_who_asks(
    pacs: FakePacs, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGSD_PACS_TOKEN", "secret-word")
    assert run(pacs, ca=ours.pem) == 0
    assert [row["status"] for row in rows(pacs)] == ["ok"]
    assert pacs.authorizations == {"Bearer secret-word"}


def test_a_certificate_of_another_authority_is_refused_before_anything_is_told(
    pacs: FakePacs, other: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAGSD_PACS_TOKEN", "secret-word")
    monkeypatch.chdir(pacs.folder)
    line = ["pacs", "screen", pacs.url, "--model", "m.magsd", "--out", "t.parquet", "--retries", "0"]
    for more in ([], ["--ca", str(other.pem)]):  # certifi's authorities, another one
        with pytest.raises(SystemExit) as ended:
            main([*line, *more])
        assert ended.value.code == 8
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == (
            f"magsd: error: {pacs.url}: its certificate is of an authority that is not trusted here; "
            "name its file with --ca"
        )
    assert pacs.asked == []
    assert not (pacs.folder / "t.parquet").exists()


def test_a_certificate_for_another_name_is_refused(ours: Authority, tmp_path: Path) -> None:
    files = ours.issue("elsewhere", "serverAuth", of="DNS:elsewhere.example,IP:127.0.0.2")
    with (
        fake_pacs.serving(tmp_path, server_context(*files)) as pacs,
        pytest.raises(DeviceError, match="for another name"),
    ):
        run(pacs, ca=ours.pem)


def test_a_server_without_tls_is_named_as_such(ours: Authority, tmp_path: Path) -> None:
    with fake_pacs.serving(tmp_path) as pacs:
        pacs.url = pacs.url.replace("http:", "https:")
        with pytest.raises(DeviceError, match="does not speak TLS there"):
            run(pacs, ca=ours.pem)


def test_a_client_certificate_opens_what_is_closed_without(
    strict_pacs: FakePacs, ours: Authority, other: Authority
) -> None:
    with pytest.raises(DeviceError, match="--client-cert"):
        run(strict_pacs, ca=ours.pem)
    stranger, its_key = other.issue("stranger", "clientAuth", of="DNS:client")
    with pytest.raises(DeviceError) as caught:  # a server may also just hang up
        run(strict_pacs, ca=ours.pem, certificate=stranger, certificate_key=its_key)
    assert "it wants a certificate of ours" in str(caught.value) or "closed without" in str(caught.value)
    assert strict_pacs.asked == []

    certificate, key = ours.issue("client", "clientAuth", of="DNS:client")
    assert run(strict_pacs, ca=ours.pem, certificate=certificate, certificate_key=key) == 0
    both = certificate.with_name("both.pem")
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    strict_pacs.add("1.2.9002")
    assert run(strict_pacs, ca=ours.pem, certificate=both) == 0
    assert [row["status"] for row in rows(strict_pacs)] == ["ok", "ok"]


def test_files_that_are_no_certificates_are_named_before_anything_is_asked(
    strict_pacs: FakePacs, ours: Authority, other: Authority
) -> None:
    certificate, key = ours.issue("client", "clientAuth", of="DNS:client")
    _, another_key = other.issue("stranger", "clientAuth", of="DNS:client")
    locked = key.with_name("locked.key")
    openssl("ec", "-aes256", "-passout", "pass:word", "-in", key, "-out", locked)
    locked_both = key.with_name("locked.pem")
    locked_both.write_bytes(certificate.read_bytes() + locked.read_bytes())
    cases: list[tuple[dict[str, Path], str]] = [
        ({"ca": strict_pacs.folder / "m.magsd"}, "--ca .*has no certificate"),
        ({"ca": strict_pacs.folder / "none.pem"}, "--ca .*no such file"),
        ({"certificate": certificate}, "--client-cert .*no certificate with its key"),
        ({"certificate": certificate, "certificate_key": another_key}, "no certificate with its key"),
        ({"certificate": certificate, "certificate_key": locked}, "--client-key .*wants a password"),
        ({"certificate": locked_both}, "--client-cert .*wants a password"),
        ({"certificate_key": key}, "needs a certificate too"),
    ]
    for options, words in cases:
        with pytest.raises(UsageError, match=words):
            run(strict_pacs, **options)
    strict_pacs.url = strict_pacs.url.replace("https:", "http:")
    with pytest.raises(UsageError, match="has no effect over plain http"):
        run(strict_pacs, ca=ours.pem)
    assert strict_pacs.asked == []


def test_limits_hold_over_tls_too(pacs: FakePacs, ours: Authority) -> None:
    pacs.add("1.2.9002")
    pacs.tricks[IMAGE, "1.2.9001"] = drip
    assert run(pacs, ca=ours.pem) == 3
    assert sorted(str(row["error_code"]) for row in rows(pacs)) == ["None", "pacs_timeout"]
    pacs.tricks[LIST, ""] = redirect
    with pytest.raises(DeviceError, match="is a redirect"):
        run(pacs, ca=ours.pem)
