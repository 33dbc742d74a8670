"""Fixtures of the rooms whose tests train tiny networks; their conftest.py imports them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_export() -> Iterator[None]:
    """Exporting takes seconds a network: only the tests of it let train and cv do it at their end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("magsd_cli.training.run.deploy", write_stand_in)
        yield


def write_stand_in(run: Any, operating: Any) -> None:
    """A whole model file for `run`, of other networks than its own."""
    from tiny_onnx import HEAD, tiny_onnx

    from magsd_cli.artifacts.model_file import model_file_path, write_model_file
    from magsd_cli.artifacts.runs import model_sha256

    head = HEAD | {
        "model_sha256": model_sha256(run),
        "classes": list(run.classes),
        "operating": operating.values(),
    }
    write_model_file(model_file_path(run.path), head, {fold: tiny_onnx() for fold in run.trained})


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
