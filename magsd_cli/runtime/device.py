"""The device that computes, and the settings that make it give the same result twice."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress

import numpy as np
import torch

from magsd_cli.console import counted
from magsd_cli.errors import DeviceError, UsageError

AUGMENTATION, NETWORK, WEIGHTS = 0, 1, 2  # streams of random numbers


def choose_devices(device: str = "auto", gpus: int | None = None) -> list[torch.device]:
    """The devices to work on side by side: one, or one for each of `gpus` (with "cpu": that many processes).

    device: auto, cpu, cuda or cuda:N. Raises `UsageError` for another word and `DeviceError` where the
    machine does not have what is asked for.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", device)
    if not match or (match[2] and match[1] != "cuda"):
        raise UsageError(f"--device {device}: unknown; use auto, cpu, cuda or cuda:N")
    if gpus is not None and gpus < 1:
        raise UsageError(f"--gpus {gpus}: must be 1 or more; omit it to train on the CPU")
    if match[1] == "cpu":
        return [torch.device("cpu")] * (gpus or 1)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if match[2]:
        return [_numbered(int(match[2]), found, gpus)]
    if gpus is not None and gpus > found:
        raise DeviceError(f"--gpus {gpus}: this machine has {_count(found)}; {_instead(found)}")
    if gpus is None and found == 0:
        if match[1] == "cuda":
            raise DeviceError("--device cuda: this machine has no CUDA GPU; omit --device to use the CPU")
        return [torch.device("cpu")]
    return [torch.device("cuda", number) for number in range(gpus or 1)]


def _numbered(number: int, found: int, gpus: int | None) -> torch.device:
    if gpus not in (None, 1):
        raise UsageError(
            f"--device cuda:{number} is one GPU, --gpus {gpus} asks for more; give one of the two"
        )
    if number >= found:
        raise DeviceError(
            f"--device cuda:{number}: this machine has {_count(found)}; {_instead(found, 'device')}"
        )
    return torch.device("cuda", number)


def _count(found: int) -> str:
    return counted(found, "CUDA GPU")


def _instead(found: int, option: str = "gpus") -> str:
    if found == 0:
        return f"omit --{option} to train on the CPU"
    return f"use --gpus {found}" if option == "gpus" else f"use --device cuda:0 to cuda:{found - 1}"


def make_repeatable(device: torch.device, threads: int) -> None:
    """Fix what changes the order of additions: the number of threads, and the choice of algorithms.

    On the CPU the same seed then gives the same bits. CUDA has operations without a deterministic form, so
    there it is only asked of the convolutions.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def keep_freed_memory() -> None:
    """Let the C library keep what a training step frees for the next step, where it is glibc.

    Large blocks would go back to the system at once, and each of their pages would be fetched and zeroed
    again at the next step: with batches of 32 at 192 px that is a third of a step's time on a CPU.
    """
    mmap_max, trim_threshold = -4, -1  # M_MMAP_MAX, M_TRIM_THRESHOLD of malloc.h
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


def set_tf32(what: str) -> None:
    """Let a GPU compute in TF32: `convolutions` (torch's own default), `all` products, or `none`."""
    torch.backends.cudnn.conv.fp32_precision = "ieee" if what == "none" else "tf32"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "tf32" if what == "all" else "ieee"


def check_precision(device: torch.device, precision: str) -> None:
    """Raise `DeviceError` where the device cannot train in `precision`: fp32, bf16 or fp16."""
    if precision == "fp16" and device.type != "cuda":
        raise DeviceError("train.precision=fp16: needs a CUDA GPU; use bf16 or fp32 on the CPU")
    if (
        precision == "bf16"
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise DeviceError(f"train.precision=bf16: {describe(device)} has no bf16; use fp16 or fp32")


def why_no_fast_bf16(device: torch.device) -> str:
    """Say why bf16 cannot be faster on `device` than fp32; "" where it may be."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return "" if fast else f"{describe(device)} has no bf16"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "" if fast else "this CPU has no avx512_bf16"


def describe(device: torch.device) -> str:
    """The device in words, for the provenance."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def fold_seed(fold: int) -> int:
    """The number that stands for `fold` in seeds, which cannot be negative: -1 is 2**32 - 1."""
    return fold % 2**32


def generator_seed(seed: int, fold: int, epoch: int, stream: int, rank: int = 0) -> int:
    """A seed for a torch generator, independent for each fold, epoch, stream and process of a training.

    A negative number of a fold counts down from 2**32, as `fold_seed` says.
    """
    words = [seed, fold_seed(fold), epoch, stream, *([rank] if rank else [])]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
