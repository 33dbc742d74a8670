"""The code in the how-tos works as it stands: a data set's layout, a network, an augmentation, a recipe."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from magsd_cli.data.layouts import LAYOUTS
from magsd_cli.method import guided
from magsd_cli.recipe import Guide, Model

DOCS = Path(__file__).resolve().parents[1] / "docs"


def block(document: str, first: str) -> str:
    """The block of code whose first line begins so."""
    found = re.findall(r"```\w*\n(.*?)```", (DOCS / document).read_text(), re.DOTALL)
    (one,) = [code for code in found if code.lstrip().startswith(first)]
    return one


def run(code: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    space = {"__name__": "how_to"} | (names or {})
    exec(compile(code, "how-to", "exec", dont_inherit=True), space)
    return space


def test_a_data_set(tmp_path: Path) -> None:
    layout = run(block("adding-a-dataset.md", '"""Clinic data'))
    assert not layout["recognise"](tmp_path)
    (tmp_path / "films").mkdir()
    for name in ("1.png", "2.png", "3.png", "more.png"):
        (tmp_path / "films" / name).write_bytes(b"")
    (tmp_path / "clinic.csv").write_text(
        "file,finding,person\n1.png,Pneumonia,7\n2.png,healthy,8\n3.png,fracture,9\ngone.png,healthy,8\n"
    )
    assert layout["recognise"](tmp_path)
    listing = layout["read"](tmp_path)
    found = {
        record.path.name: (record.label, record.patient_id, record.problem and record.problem[0])
        for record in listing.records
    }
    assert found == {
        "1.png": ("Pneumonia", "clinic-7", None),
        "2.png": ("Normal", "clinic-8", None),
        "3.png": (None, "clinic-9", "other_finding"),
        "gone.png": ("Normal", "clinic-8", "not_found"),
        "more.png": (None, "", "unlisted"),
    }
    assert listing.records[0].image_id == "films/1.png"
    assert "clinic" not in LAYOUTS


def test_a_network() -> None:
    network = run(block("adding-a-model.md", '"""Pocket'))["Pocket"](Model(), 3)
    output = network(torch.zeros(2, 1, 64, 64))
    assert output.logits.shape == (2, 3)
    assert output.attention is None
    assert "two others" in (DOCS / "adding-a-model.md").read_text()


def test_an_augmentation() -> None:
    erase = run(block("adding-an-augmentation.md", "def erase"), vars(guided))["erase"]
    images = torch.randn(3, 1, 64, 64)
    maps = torch.zeros(3, 1, 4, 4)
    maps[:2, :, 1, 1] = 1
    erased = erase(images, maps, Guide(), torch.Generator().manual_seed(0))
    assert erased.shape == images.shape
    assert not torch.equal(erased[0], images[0])
    assert torch.equal(erased[2], images[2])  # an empty map leaves a copy


@pytest.mark.parametrize("document", ["adding-a-model.md", "adding-an-augmentation.md"])
def test_a_recipe(document: str) -> None:
    values = tomllib.loads(block(document, "extends ="))
    assert (DOCS.parent / "recipes" / values["extends"]).is_file()
    assert values["train"]
