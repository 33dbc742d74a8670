"""Fixtures that the tests of several stages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: the tiny networks are no faster on more, and give the same bits everywhere."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with xrays/ and runs/tiny on them."""
    from tiny_run import write_tiny_run

    folder = tmp_path_factory.mktemp("made")
    write_tiny_run(folder)
    return folder
