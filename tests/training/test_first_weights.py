"""First weights from an installed package: trained with, and named in provenance, report, card and doctor."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tiny_cache import write_tiny_cache

from magsd_cli.cli import main
from magsd_cli.evaluation.facts import gather_facts
from magsd_cli.evaluation.results import read_results
from magsd_cli.models.efficientnet_lite import PACKAGES
from magsd_cli.recipe import load_recipe
from magsd_cli.render.document import Document
from magsd_cli.render.markdown import render_markdown
from magsd_cli.report.model_card import describe_card
from magsd_cli.report.sections.provenance import provenance_section
from magsd_cli.tools.doctor import doctor
from magsd_cli.training.plan import RunOptions
from magsd_cli.training.run import train

pytestmark = pytest.mark.usefixtures("one_thread")
LITE0 = PACKAGES["tf_efficientnet_lite0"]
KEYS = (
    "model.backbone=timm:tf_efficientnet_lite0", "model.attention_maps=4", "image.size=64", "train.epochs=1",
    'train.augment=["mixup"]',
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that began with the package's weights, on a machine without a network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    cache = write_tiny_cache(tmp_path / "cache")
    recipe = load_recipe("base", KEYS)
    return train(RunOptions(cache=cache, recipe=recipe, runs=tmp_path / "runs", device="cpu"))


def test_a_run_says_where_its_first_weights_came_from(run: Path) -> None:
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["first_weights"] == {
        "source": f"package {LITE0.name} 0.1.0",
        "file": LITE0.file,
        "sha256": LITE0.sha256,
        "licence": "Apache-2.0 (the package's LICENSE file)",
    }
    facts = gather_facts(read_results(run), run.parent)
    texts = (
        render_markdown(describe_card(facts)),
        render_markdown(Document("report", tuple(provenance_section(facts)))),
    )
    for text in texts:
        assert all(word in text for word in (LITE0.file, LITE0.sha256, "Apache-2.0"))
    del facts.results.provenance["first_weights"]  # as an earlier version left it
    assert "Weights: imagenet." in render_markdown(describe_card(facts))


def test_random_first_weights_have_no_origin(tmp_path: Path) -> None:
    recipe = load_recipe("base", [*KEYS, "model.weights=none"])
    cache = write_tiny_cache(tmp_path / "cache")
    run = train(RunOptions(cache=cache, recipe=recipe, runs=tmp_path / "runs", device="cpu"))
    assert json.loads((run / "provenance.json").read_text())["first_weights"] is None
    assert "Random." in render_markdown(describe_card(gather_facts(read_results(run), run.parent)))


def test_doctor_names_the_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(runs=tmp_path) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "tf_efficientnet_lite0" in line]
    assert line.startswith("ok")
    assert all(word in line for word in (LITE0.name, LITE0.file, LITE0.sha256, "Apache-2.0"))


@pytest.mark.parametrize("way", ["option", "environment"])
@pytest.mark.parametrize("word", ["train", "cv"])
def test_offline_ends_with_5_and_leaves_no_run(
    word: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("MAGSD_OFFLINE", "1" if way == "environment" else "0")
    monkeypatch.setattr("torch.hub.urlopen", lambda *_: pytest.fail("a connection was tried"))
    cache = write_tiny_cache(tmp_path / "cache")
    line = ["--runs", str(tmp_path / "runs"), word, "--cache", str(cache), "--device", "cpu"]
    line += ["--set", "image.size=64", "--name", "never"]
    with pytest.raises(SystemExit) as left:
        main([*line, *(["--offline"] if way == "option" else [])])
    assert left.value.code == 5
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("magsd: error: ")
    for part in ("resnet50-0676ba61.pth", str(tmp_path / "torch"), "recipe cpu", "--offline"):
        assert part in last
    assert not (tmp_path / "runs" / "never").exists()
