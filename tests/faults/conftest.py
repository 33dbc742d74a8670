"""One nursery and one site for all faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nursery import opened
from undisturbed import Site, make_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """X-rays, and what each command gives on them when nothing disturbs it."""
    with opened() as nursery:
        yield make_site(tmp_path_factory.mktemp("site"), nursery)
