"""Connecting to a Ray cluster that is not there, or no longer: said in one line, and soon."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from magsd_cli.errors import DeviceError
from magsd_cli.runtime import cluster
from magsd_cli.runtime.cluster import connected


@pytest.fixture
def listening() -> Iterator[str]:
    """The address of something that listens and never answers, like a head that hangs."""
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refused(address: str) -> float:
    """Seconds until it is said that no cluster answers at `address`."""
    start = time.monotonic()
    with (
        pytest.raises(DeviceError, match=f"{address}: no Ray cluster answers.*ray start"),
        connected(address),
    ):
        pass
    return time.monotonic() - start


def test_an_address_where_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(cluster, "PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert refused(f"127.0.0.1:{free}") < 10


@pytest.mark.slow
def test_a_head_that_does_not_answer(listening: str) -> None:
    assert refused(listening) < 60


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("head:6379", ("head", 6379)),
        ("[::1]:6379", ("::1", 6379)),
        ("auto", None),
        ("ray://head:10001", None),
        ("head:", None),
    ],
)
def test_the_place_of_an_address(address: str, place: tuple[str, int] | None) -> None:
    assert cluster._place(address) == place
