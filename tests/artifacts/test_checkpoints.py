import json
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from magsd_cli.artifacts.checkpoints import load_weights, read_state, read_weights, write_state, write_weights
from magsd_cli.artifacts.files import hash_sidecar, record_hash
from magsd_cli.errors import ArtifactError, OutputError

CLASSES = ("a", "b")


def network(classes: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, classes))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write_weights(path, network().to(memory_format=torch.channels_last).state_dict(), CLASSES)
    return path


def test_weights_come_back_bit_for_bit(tmp_path):
    model, other = network(), network()
    write_weights(tmp_path / "w", model.state_dict(), CLASSES)
    load_weights(other, tmp_path / "w", CLASSES)
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_equal_weights_are_equal_files(tmp_path):
    model = network()
    for name in ("one", "two"):
        write_weights(tmp_path / name, model.state_dict(), CLASSES)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("damage", ["absent", "cut", "flipped", "no sidecar", "pickle", "nan", "schema"])
def test_damaged_weights_are_refused(weights, damage, tmp_path):
    data = weights.read_bytes()
    if damage == "absent":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(data[:-7])
    elif damage == "flipped":
        weights.write_bytes(data[:99] + bytes([data[99] ^ 4]) + data[100:])
    elif damage == "no sidecar":
        hash_sidecar(weights).unlink()
    elif damage == "pickle":
        weights.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
        record_hash(weights)
    elif damage == "nan":
        safetensors.torch.save_file({"w": torch.tensor([1, np.nan])}, weights, metadata())
        record_hash(weights)
    elif damage == "schema":
        safetensors.torch.save_file({"w": torch.ones(1)}, weights, metadata(version=99))
        record_hash(weights)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        read_weights(weights)
    assert not (tmp_path / "exploded").exists()


def metadata(version: int = 1) -> dict[str, str]:
    return {"magsd": json.dumps({"schema_version": version, "classes": CLASSES})}


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_weights_of_another_network_or_other_classes_are_refused(weights):
    with pytest.raises(ArtifactError, match=r"3\.weight is \[2, 3\], should be \[4, 3\]|3\.bias"):
        load_weights(network(4), weights, CLASSES)
    with pytest.raises(ArtifactError, match="is for the classes"):
        load_weights(network(2), weights, ("a", "c"))


def test_state_round_trip_and_absence(tmp_path):
    path = tmp_path / "state.pt"
    assert read_state(path) is None
    write_state(path, {"epoch": 3, "tensor": torch.arange(4), "rows": [{"loss": 0.5}], "none": None})
    state = read_state(path)
    assert state is not None
    assert state["epoch"] == 3
    assert torch.equal(state["tensor"], torch.arange(4))


@pytest.mark.parametrize("damage", ["cut", "flipped", "code", "schema", "text"])
def test_a_damaged_state_is_refused(tmp_path, damage):
    path = tmp_path / "state.pt"
    write_state(path, {"epoch": 3})
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    else:
        value = {"code": Bomb(tmp_path / "exploded"), "schema": {"schema_version": 99}, "text": "epoch 3"}[
            damage
        ]
        torch.save(value, path)
        record_hash(path)
    with pytest.raises(ArtifactError, match=r"state\.pt"):
        read_state(path)
    assert not (tmp_path / "exploded").exists()


def test_a_full_disk_is_one_line_and_leaves_the_old_checkpoint(tmp_path):
    state, weights = tmp_path / "state.pt", tmp_path / "weights.safetensors"
    write_state(state, {"epoch": 1})
    write_weights(weights, network().state_dict(), CLASSES)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"state\.pt: .*; free some space"):
            write_state(state, {"epoch": 2, "tensor": torch.zeros(9999)})
        with pytest.raises(OutputError, match=r"weights\.safetensors: .*; free some space"):
            write_weights(weights, nn.Linear(99, 99).state_dict(), CLASSES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
