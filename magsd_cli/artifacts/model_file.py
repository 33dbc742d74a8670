"""A model in one file, to predict with where nothing was trained: ``model.magsd``.

A zip archive, uncompressed, of ``model.json`` (classes, preparation, recipe, hashes) and an ONNX network for
each fold, or the one that was trained on all images. It executes nothing. Every member is checked against the
hash in ``model.json``, and that against
the archive's own checksum.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magsd_cli.artifacts.files import hashed_path
from magsd_cli.artifacts.runs import REFIT, fold_path, network_name
from magsd_cli.errors import ArtifactError
from magsd_cli.hashing import sha256_bytes
from magsd_cli.settings import Lungs, Network, Preprocessing, preprocessing_from

if TYPE_CHECKING:  # pydantic, which a worker that only reads networks does without
    from magsd_cli.artifacts.operating_point import OperatingPoint

SCHEMA_VERSION = 3
REFIT_SCHEMA = 2  # of a file for whole films: versions that know no lungs read it
FOLDS_SCHEMA = 1  # of one of fold networks: versions that know no refit read it
SUFFIX = ".magsd"
HEAD = "model.json"
LUNGS = "network.lungs"  # the network that cuts films to their lungs, where they are cut
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ModelFile:
    """The head of a model file. `networks`: fold -> hash of its member.

    `size`: the side that the networks see, at most the cache's in `preprocessing`.
    `trained_on`: content hash of each image of the run -> the fold whose network never saw it.
    `operating`: None in a file that was made without. `precision`: what the
    networks compute in, "fp32" or "int8". `fold_networks_sha256`: in a file of the refit network the hash of
    the fold networks, whose figures, temperature and operating point are its own; None elsewhere.
    """

    path: Path
    name: str
    version: str
    model_sha256: str
    classes: tuple[str, ...]
    size: int
    preprocessing: Preprocessing
    recipe: dict[str, Any] = field(repr=False)
    recipe_sha256: str
    networks: dict[int, str] = field(repr=False)
    trained_on: dict[str, int] | None = field(repr=False)
    operating: OperatingPoint | None = field(repr=False, default=None)
    precision: str = "fp32"
    fold_networks_sha256: str | None = None

    def networks_alone(self) -> ModelFile:
        """The same without what only this process needs: what a worker is given."""
        return replace(self, recipe={}, trained_on=None, operating=None)

    @property
    def network(self) -> Network:
        """The networks of its run that are inside."""
        return Network.refit if REFIT in self.networks else Network.folds

    @property
    def calibrated_sha256(self) -> str:
        """The hash of the networks that the operating point was found with."""
        return self.fold_networks_sha256 or self.model_sha256


def model_file_path(run: Path, network: Network = Network.folds) -> Path:
    """Return the path of a run's model file, or of that of its refit network."""
    return (run if network == Network.folds else fold_path(run, REFIT)) / f"model{SUFFIX}"


def write_model_file(
    path: Path, head: Mapping[str, Any], networks: Mapping[int, bytes], lungs: bytes | None = None
) -> None:
    """Write a model file with its hash beside it. `head` has the fields of `ModelFile` but path and networks,
    `preprocessing` as `head_of` gives it; `lungs` is the network that cuts films, where they are cut.

    The same model gives the same bytes. Raises `OutputError`.
    """
    hashes = {str(fold): sha256_bytes(data) for fold, data in networks.items()}
    version = SCHEMA_VERSION if lungs else REFIT_SCHEMA if REFIT in networks else FOLDS_SCHEMA
    values = {**head, "schema_version": version, "networks": hashes}
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with hashed_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(HEAD, _EPOCH), text + "\n")
        for fold, data in networks.items():
            archive.writestr(zipfile.ZipInfo(_member(fold), _EPOCH), data)
        if lungs:
            archive.writestr(zipfile.ZipInfo(LUNGS, _EPOCH), lungs)


def open_model_file(path: Path) -> ModelFile:
    """Read what a model file says of itself; its networks are checked when they are read.

    Raises `ArtifactError` when it is missing, damaged, no model file, or of a later schema.
    """
    try:
        values = json.loads(_read(path, HEAD))
        if values["schema_version"] > SCHEMA_VERSION:
            raise ArtifactError(f"{path}: was made by a newer magsd; install that version")
        return ModelFile(
            path=path,
            name=values["name"],
            version=values["version"],
            model_sha256=values["model_sha256"],
            classes=tuple(values["classes"]),
            size=values["size"],
            preprocessing=preprocessing_from({**values, "size": values["cache_size"]}, path),
            recipe=values["recipe"],
            recipe_sha256=values["recipe_sha256"],
            networks={int(fold): digest for fold, digest in values["networks"].items()},
            trained_on=values["trained_on"],
            operating=_operating(values, path),
            precision=values.get("precision", "fp32"),
            fold_networks_sha256=values.get("fold_networks_sha256"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{path}: is not a model file of magsd ({type(error).__name__}); {_AGAIN}"
        ) from error


def _operating(values: Mapping[str, Any], path: Path) -> OperatingPoint | None:
    stored = values.get("operating")
    of = values.get("fold_networks_sha256") or values["model_sha256"]
    if stored is None:
        return None
    from magsd_cli.artifacts.operating_point import check_operating_point

    return check_operating_point(stored, path, of)


def replace_operating(path: Path, operating: OperatingPoint) -> None:
    """Write the model file `path` again with another operating point and the same networks.

    Raises `ArtifactError` when it is damaged or of other networks than `operating`, `OutputError`.
    """
    from magsd_cli.artifacts.operating_point import check_operating_point

    model = open_model_file(path)
    checked = check_operating_point(operating.values(), path, model.calibrated_sha256).values()
    head = {**json.loads(_read(path, HEAD)), "operating": checked}
    networks = {fold: read_network(model, fold) for fold in model.networks}
    write_model_file(path, head, networks, read_lungs(model))


def head_of(preprocessing: Preprocessing) -> dict[str, Any]:
    """How a model file's head says what an image goes through."""
    values = preprocessing.values()
    return {"cache_size": values.pop("size"), **values}


def read_lungs(model: ModelFile) -> bytes | None:
    """The network that cuts films to their lungs; None where they are kept whole.

    Raises `ArtifactError` when it does not match its recorded hash.
    """
    if model.preprocessing.lungs == Lungs.none:
        return None
    data = _read(model.path, LUNGS)
    if sha256_bytes(data) != model.preprocessing.lung_network:
        raise ArtifactError(f"{model.path}: {LUNGS} does not match its hash (damaged); {_AGAIN}")
    return data


def read_network(model: ModelFile, fold: int) -> bytes:
    """The ONNX network of `fold`. Raises `ArtifactError` when it does not match its recorded hash."""
    data = _read(model.path, _member(fold))
    if sha256_bytes(data) != model.networks[fold]:
        raise ArtifactError(f"{model.path}: {_member(fold)} does not match its hash (damaged); {_AGAIN}")
    return data


_AGAIN = "export the run again with `magsd export`"


def _member(fold: int) -> str:
    return f"{network_name(fold)}.onnx"


def _read(path: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no such model; name a run or a model file with --model") from error
    except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ArtifactError(
            f"{path}: {member} is missing or damaged ({type(error).__name__}); {_AGAIN}"
        ) from error
