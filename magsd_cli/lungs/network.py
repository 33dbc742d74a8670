"""A lung network as it is kept in a file (``.lungs``), read with ONNX Runtime.

A zip archive, uncompressed, of ``card.json`` (what it is, was trained on, is worth; the hash of each other
member), ``network.onnx`` (trained on all films), ``network.safetensors`` (its weights), ``fold<i>.onnx``
(trained without the patients of a fold) and, of each film that the command saw, ``looks.npy`` and
``folds.npy``: a film that a network may have learned from is given to one that never saw its patient.
Nothing in it executes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from magsd_cli.errors import ArtifactError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.lungs.geometry import Floats, Lungs, two_lungs
from magsd_cli.lungs.looks import BYTES, SAME, Bits, looks_of, nearest

SUFFIX = ".lungs"
SCHEMA_VERSION = 1
CARD, ALL, WEIGHTS, LOOKS, FOLDS = (
    "card.json",
    "network.onnx",
    "network.safetensors",
    "looks.npy",
    "folds.npy",
)
INPUT, OUTPUT = "films", "lungs"
#: In a model file the lung network of its preprocessing has this name (artifacts/model_file.py).
MEMBER = f"network{SUFFIX}"
EVERYWHERE = -1  # stands for the network that was trained on all films
_EPOCH = (1980, 1, 1, 0, 0, 0)
_AGAIN = "take another copy, or make it again with `magsd lungs train`"


def shipped() -> Path:
    """The network that comes with the tool."""
    return Path(str(resources.files("magsd_cli.lungs"))) / f"kermany{SUFFIX}"


@dataclass(frozen=True)
class LungNetwork:
    """A lung network: its `card`, its side in pixels, the films that it knows, and its `networks` as ONNX.

    `networks`: fold -> bytes, `EVERYWHERE` for the one of all films. `looks` uint8 [N,32] and `folds` [N]
    of the known films: the fold is that of the film's patient. `sha256` is the file's.
    """

    name: str
    sha256: str
    card: Mapping[str, Any] = field(repr=False)
    size: int
    networks: Mapping[int, bytes] = field(repr=False)
    looks: Bits = field(repr=False)
    folds: npt.NDArray[np.int8] = field(repr=False)
    data: bytes = field(repr=False)
    _sessions: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def find(self, film: npt.NDArray[np.uint8]) -> Lungs | None:
        """The two lungs on a film uint8 [H,W], white is dense, before CLAHE; None where two are not found."""
        return two_lungs(self.probabilities(film), (film.shape[0], film.shape[1]))

    def probabilities(self, film: npt.NDArray[np.uint8]) -> Floats:
        """Return how likely each place of a film uint8 [H,W] is lung: float32 [S,S] in 0..1, S is `size`."""
        small = self.squeezed(film)
        return self.ask(small, self.fold_of(small))

    def squeezed(self, film: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A film uint8 [H,W] as the networks see it: [S,S], by area averages."""
        if film.shape == (self.size, self.size):
            return film
        return np.asarray(cv2.resize(film, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)

    def fold_of(self, small: npt.NDArray[np.uint8]) -> int:
        """The network for a film [S,S]: that of the fold of its patient, or of all films for a new one."""
        place, distance = nearest(looks_of(small), self.looks)
        return int(self.folds[place]) if distance <= SAME else EVERYWHERE

    def ask(self, small: npt.NDArray[np.uint8], fold: int) -> Floats:
        """Ask the network of `fold` about uint8 [S,S]: float32 [S,S] in 0..1."""
        if fold not in self._sessions:
            self._sessions[fold] = _session(self.networks[fold], self.name)
        found: Floats = self._sessions[fold].run([OUTPUT], {INPUT: small[None, None]})[0][0, 0]
        return found


def _session(data: bytes, name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class
        raise ArtifactError(
            f"{name}: ONNX Runtime cannot open it ({type(error).__name__}); {_AGAIN}"
        ) from error


def member_of(fold: int) -> str:
    """Return the name of the network of `fold` in the file."""
    return ALL if fold == EVERYWHERE else f"fold{fold}.onnx"


def pack(card: Mapping[str, Any], members: Mapping[str, bytes]) -> bytes:
    """The bytes of a lung network's file: the same network gives the same bytes."""
    hashes = {name: sha256_bytes(data) for name, data in members.items()}
    text = json.dumps({**card, "schema_version": SCHEMA_VERSION, "members": hashes}, indent=2, sort_keys=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(CARD, _EPOCH), text + "\n")
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return buffer.getvalue()


def open_lung_network(path: Path) -> LungNetwork:
    """Read a lung network from its own file, or from the model file that it is in; each member is checked.

    Raises `ArtifactError` where there is none, or it is damaged or of a later schema.
    """
    try:
        stamp = path.stat().st_mtime_ns
        return _opened(path, stamp)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such lung network; {_AGAIN}") from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from error


@lru_cache(maxsize=4)
def _opened(path: Path, _stamp: int) -> LungNetwork:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.read(MEMBER) if MEMBER in archive.namelist() else None
        return unpack(path.read_bytes() if inside is None else inside, path.name)
    except (KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ArtifactError(f"{path}: no lung network ({type(error).__name__}); {_AGAIN}") from error


def unpack(data: bytes, name: str) -> LungNetwork:
    """The lung network in the bytes of its file. Raises `ArtifactError` for damage, `ValueError` and others
    for what is none.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        card = json.loads(archive.read(CARD))
        if card["schema_version"] > SCHEMA_VERSION:
            raise ArtifactError(f"{name}: was made by a later magsd; install a newer one")
        members = {member: archive.read(member) for member in card["members"]}
    for member, content in members.items():
        if sha256_bytes(content) != card["members"][member]:
            raise ArtifactError(f"{name}: {member} does not match its hash (damaged); {_AGAIN}")
    networks = {fold: members[member_of(fold)] for fold in (EVERYWHERE, *range(int(card["folds"])))}
    looks = np.load(io.BytesIO(members[LOOKS]), allow_pickle=False).reshape(-1, BYTES)
    folds = np.load(io.BytesIO(members[FOLDS]), allow_pickle=False)
    return LungNetwork(
        name=str(card["name"]),
        sha256=sha256_bytes(data),
        card=card,
        size=int(card["size"]),
        networks=networks,
        looks=looks,
        folds=folds,
        data=data,
    )
